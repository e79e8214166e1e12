'use strict';
// The values of the stretch of time that the pointer is above.
(() => {
  const { left, right, seconds, policies } = JSON.parse(document.getElementById('data').textContent);
  const svg = document.querySelector('#picture > svg');
  const box = document.getElementById('values');
  const cursor = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  cursor.id = 'cursor';
  svg.append(cursor);

  const rounded = (value) => value.toLocaleString('en', { maximumSignificantDigits: 3, useGrouping: true });
  const rate = (value) => (value < 1000 ? rounded(value) : Math.round(value).toLocaleString('en')) + '/s';
  const latency = (us) => {
    if (us === null) return 'none';
    if (us < 1e3) return rounded(us) + ' µs';
    return us < 1e6 ? rounded(us / 1e3) + ' ms' : rounded(us / 1e6) + ' s';
  };
  const bytes = (n) => {
    if (n < 1e3) return n + ' B';
    return n < 1e6 ? rounded(n / 1e3) + ' kB' : rounded(n / 1e6) + ' MB';
  };
  const cell = (row, kind, text) => {
    const element = document.createElement(kind);
    element.textContent = text;
    row.append(element);
  };
  const row = (kind, texts) => {
    const element = document.createElement('tr');
    texts.forEach((text) => cell(element, kind, text));
    return element;
  };

  const hide = () => {
    box.hidden = true;
    cursor.setAttribute('d', '');
  };
  const show = (event) => {
    const paper = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / paper.width;
    const time = (((event.clientX - paper.left) * scale - left) / (right - left)) * seconds;
    const points = policies[0].points;
    const at = Math.min(Math.floor((time / seconds) * points.length), points.length - 1);
    if (!(time >= 0 && time <= seconds) || at < 0) return hide();
    const x = left + (points[at].at_s / seconds) * (right - left);
    cursor.setAttribute('d', `M${x} 80V${svg.viewBox.baseVal.height - 46}`);
    const table = document.createElement('table');
    table.append(row('th', [`at ${rounded(points[at].at_s)} s`, 'p50', 'p99', 'goodput', 'of', 'load', 'unsent']));
    for (const { name, points } of policies) {
      const p = points[at];
      if (!p) continue;
      const rates = [p.good_per_s, p.offered_per_s, p.attempts_per_s].map(rate);
      table.append(row('td', [name, latency(p.p50_us), latency(p.p99_us), ...rates, bytes(p.unsent_bytes)]));
    }
    box.replaceChildren(table);
    box.hidden = false;
    const beside = event.clientX + 16 + box.offsetWidth > window.innerWidth;
    box.style.left = Math.max(4, beside ? event.clientX - 16 - box.offsetWidth : event.clientX + 16) + 'px';
    box.style.top = Math.min(event.clientY + 16, window.innerHeight - box.offsetHeight - 4) + 'px';
  };
  svg.addEventListener('pointermove', show);
  svg.addEventListener('pointerleave', hide);
})();
