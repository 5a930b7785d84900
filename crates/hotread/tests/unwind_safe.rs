use hotread::{HotRead, HotReadHandle};
use std::panic::{RefUnwindSafe, UnwindSafe};
type Map = std::collections::BTreeMap<u64, u64>;
#[test]
fn types_are_unwind_safe() {
    fn both<T: UnwindSafe + RefUnwindSafe>() {}
    both::<HotRead<Map>>();
    both::<HotReadHandle<Map>>();
}
