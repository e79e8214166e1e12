//! Once warm, a call from one service to another through a hub allocates next to nothing, of all three together.

use allocation_counter::measure;
use plimsoll_tokio::ipc::{Client, Ctx, Hub};

const CALLS: u64 = 1_000;

#[test]
fn a_warm_call_there_and_back_allocates_next_to_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_hub, users, orders) = runtime.block_on(async {
        let hub = Hub::builder().bind("127.0.0.1:0").await.unwrap();
        let path = hub.local_addr().to_string();
        let users = Client::builder("users")
            .path(&path)
            .method("add", |(a, b): (u32, u32), _: Ctx| async move { Ok(a + b) })
            .raw_method("echo", |params: Vec<u8>, _: Ctx| async move { Ok(params) })
            .build()
            .unwrap();
        users.connect().await.unwrap();
        let orders = Client::builder("orders").path(&path).build().unwrap();
        orders.connect().await.unwrap();
        (hub, users, orders)
    });
    let mut content = Vec::with_capacity(256);
    let raw = || {
        runtime.block_on(async {
            for _ in 0..CALLS {
                content.clear();
                content.extend_from_slice(b"[1, 2]");
                content = orders.prepare("users", "echo").send(std::mem::take(&mut content)).await.unwrap();
            }
        });
    };
    let typed = || {
        runtime.block_on(async {
            for n in 0..CALLS as u32 {
                assert_eq!(orders.call::<u32>("users", "add", &(n, 1)).await, Ok(n + 1));
            }
        });
    };
    let (mut raw, typed) = (raw, typed);
    raw();
    typed();
    let (raw, typed) = (measure(raw).count_total, measure(typed).count_total);
    println!("{} and {} allocations for {CALLS} calls, raw and typed", raw, typed);
    assert!(raw < CALLS / 10, "{raw} for {CALLS} raw calls");
    // The parameters are written into a vector of their own.
    assert!(typed < CALLS + CALLS / 10, "{typed} for {CALLS} typed calls");
    drop(users);
}
