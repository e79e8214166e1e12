//! What is measured against what, and what is to be reached.

mod adapters;
mod edge;
mod hub;
mod parts;
mod resp;
mod uw;

use crate::rounds::Group;

/// All of them, in the order of the table.
pub(crate) fn groups() -> Vec<Group> {
    let mut groups = parts::groups();
    groups.extend(uw::groups());
    groups.extend(adapters::groups());
    groups.extend(resp::groups());
    groups.extend(edge::groups());
    groups.extend(hub::groups());
    groups
}
