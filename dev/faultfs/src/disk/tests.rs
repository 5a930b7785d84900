//! Effects of each operation on the disk, and of a power failure on them.

use super::*;

const CREATE: Opening = Opening {
    creates: true,
    is_exclusive: false,
    is_read_only: false,
};

fn survivors(model: &Model, name: &str) -> Vec<Option<Vec<u8>>> {
    let images = (0..200).map(|seed| model.crash(seed));
    images
        .map(|image| image.content(name).map(<[u8]>::to_vec))
        .collect()
}

#[test]
fn a_file_is_there_for_certain_after_its_first_sync() {
    let mut model = Model::default();
    let handle = model.open(Some("a"), CREATE).unwrap();
    model.write(handle, 0, b"one").unwrap();
    let before = survivors(&model, "a");
    assert!(before.contains(&None) && before.contains(&Some(b"one".to_vec())));
    model.sync(handle).unwrap();
    assert!(
        survivors(&model, "a")
            .iter()
            .all(|file| file.as_deref() == Some(b"one"))
    );
}

#[test]
fn a_deleted_file_may_come_back_unless_the_directory_was_synced() {
    let mut model = Model::default();
    model.place("a", b"old".to_vec());
    model.delete("a", false).unwrap();
    assert_eq!(model.content("a"), None);
    let after = survivors(&model, "a");
    assert!(after.contains(&None) && after.contains(&Some(b"old".to_vec())));

    model.place("a", b"old".to_vec());
    model.delete("a", true).unwrap();
    assert!(survivors(&model, "a").iter().all(Option::is_none));
    assert!(model.nodes.is_empty() && model.names.is_empty());
    assert_eq!(model.delete("a", true), Err(Refusal::Absent));
}

#[test]
fn a_new_file_under_an_old_name_may_give_way_to_the_old() {
    let mut model = Model::default();
    model.place("a", b"old".to_vec());
    model.delete("a", false).unwrap();
    let handle = model.open(Some("a"), CREATE).unwrap();
    model.write(handle, 0, b"new").unwrap();
    let after = survivors(&model, "a");
    assert!(after.contains(&Some(b"old".to_vec())));
    assert!(after.contains(&Some(b"new".to_vec())));
    model.sync(handle).unwrap();
    assert!(
        survivors(&model, "a")
            .iter()
            .all(|file| file.as_deref() == Some(b"new"))
    );
    assert_eq!(model.nodes.len(), 1);
}

#[test]
fn the_first_sync_of_a_log_makes_all_names_durable() {
    let mut model = Model::default();
    model.place("a-journal", b"old".to_vec());
    model.delete("a-journal", false).unwrap();
    let database = model.open(Some("a"), CREATE).unwrap();
    model.sync(database).unwrap();
    assert!(survivors(&model, "a-journal").contains(&Some(b"old".to_vec())));
    let log = model.open(Some("a-wal"), CREATE).unwrap();
    assert!(survivors(&model, "a-journal").contains(&Some(b"old".to_vec())));
    model.sync(log).unwrap();
    assert!(survivors(&model, "a-journal").iter().all(Option::is_none));
    model.place("a-journal", b"old".to_vec());
    model.delete("a-journal", false).unwrap();
    model.sync(log).unwrap();
    assert!(
        survivors(&model, "a-journal").contains(&Some(b"old".to_vec())),
        "only the first"
    );
}

#[test]
fn a_deleted_file_remains_for_open_handles() {
    let mut model = Model::default();
    let first = model.open(Some("a"), CREATE).unwrap();
    model.write(first, 0, b"first").unwrap();
    model.delete("a", true).unwrap();
    let second = model.open(Some("a"), CREATE).unwrap();
    model.write(second, 0, b"2nd").unwrap();
    model.sync(first).unwrap();
    let mut bytes = [0; 5];
    assert_eq!(model.read(first, 0, &mut bytes), Ok(5));
    assert_eq!(&bytes, b"first");
    model.close(first);
    assert_eq!(model.files().collect::<Vec<_>>(), [("a", &b"2nd"[..])]);
    assert_eq!(model.nodes.len(), 1);
    model.close(second);
    assert_eq!(model.nodes.len(), 1);
}

#[test]
fn a_file_without_a_name_is_gone_with_its_handle() {
    let mut model = Model::default();
    let handle = model.open(None, Opening::default()).unwrap();
    model.write(handle, 0, b"x").unwrap();
    model.sync(handle).unwrap();
    assert_eq!(model.crash(0).nodes.len(), 0);
    model.close(handle);
    assert!(model.nodes.is_empty());
}

#[test]
fn a_failed_write_leaves_a_prefix() {
    let mut model = Model::default();
    let handle = model.open(Some("a"), CREATE).unwrap();
    let mut lengths = Vec::new();
    for _ in 0..100 {
        model.truncate(handle, 0).unwrap();
        model.fail(Fault {
            error: Error::Full,
            ..Fault::nth(Op::Write, 1)
        });
        let outcome = model.write(handle, 0, &[1; 100]);
        assert_eq!(outcome, Err(Refusal::Injected(Op::Write, Error::Full)));
        lengths.push(model.content("a").unwrap().len());
    }
    assert!(lengths.contains(&0) && lengths.contains(&100));
    assert!(lengths.iter().any(|len| (1..100).contains(len)));
    assert_eq!(model.counts().faults, 100);
}

#[test]
fn without_power_only_letting_go_works() {
    let mut model = Model::default();
    let handle = model.open(Some("a"), CREATE).unwrap();
    model.shm_map(handle, 0, 32_768, true).unwrap();
    model.lock(handle, Level::Shared).unwrap();
    model.power_off();
    assert_eq!(model.write(handle, 0, b"x"), Err(Refusal::Off));
    assert_eq!(model.sync(handle), Err(Refusal::Off));
    assert_eq!(model.len(handle), Err(Refusal::Off));
    assert_eq!(model.lock(handle, Level::Reserved), Err(Refusal::Off));
    assert_eq!(
        model.shm_lock(handle, 0, 1, ShmMode::Shared),
        Err(Refusal::Off)
    );
    assert!(model.open(Some("b"), CREATE).is_err());
    model.unlock(handle, Level::None);
    model.shm_unmap(handle);
    model.close(handle);
}

#[test]
fn opening_respects_the_requested_mode() {
    let mut model = Model::default();
    assert_eq!(
        model.open(Some("a"), Opening::default()).err(),
        Some(Refusal::Absent)
    );
    model.place("a", Vec::new());
    let exclusive = Opening {
        is_exclusive: true,
        ..CREATE
    };
    assert_eq!(
        model.open(Some("a"), exclusive).err(),
        Some(Refusal::Forbidden)
    );
    let reader = Opening {
        is_read_only: true,
        ..Opening::default()
    };
    let handle = model.open(Some("a"), reader).unwrap();
    assert_eq!(model.write(handle, 0, b"x"), Err(Refusal::Forbidden));
    assert_eq!(model.truncate(handle, 9), Err(Refusal::Forbidden));
}
