//! Counts of what happened: a simulation without failures proves nothing.

macro_rules! counters {
    ($($name:ident,)*) => {
        #[derive(Debug, Default, Clone)]
        pub struct Seen {
            $(pub $name: u64,)*
        }

        impl std::ops::AddAssign for Seen {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl Seen {
            /// Returns the events that did not happen at all.
            pub fn missing(&self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name),)*];
                let never = all.into_iter().filter(|(_, times)| *times == 0);
                never.map(|(name, _)| name).collect()
            }
        }
    };
}

counters! {
    resumes,
    snapshots,
    reasons,
    folds,
    nacks,
    repeated_nacks,
    fixes,
    resets,
    goodbyes,
    cuts,
    partitions,
    crashes,
    losses,
    recreations,
    noticed,
    restored,
    ended,
    pieces,
}
