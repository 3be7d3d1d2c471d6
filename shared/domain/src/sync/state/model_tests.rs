//! A model of runs that read a feed, break off and are killed: after a complete full pass there is no difference left.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::sync::{
    Change, Incoming, KnownRecord, Presence, change,
    kind::KindName,
    sweep::{Brake, Sweep},
};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn start() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

/// What happens to a sync, and to the feed beside it.
#[derive(Debug, Clone)]
enum Happens {
    /// A run reads this many pages.
    Run(usize),
    /// A run is killed after this many writes of its first page: events, what is known, the state.
    Killed(usize),
    /// The next page is refused.
    Refused,
    /// It takes too long.
    TooMuch,
    /// A listing is there, with this content.
    Put(u8, u8),
    /// A listing is gone, without a sign.
    Gone(u8),
    /// So much time passes, in minutes.
    Later(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (1_usize..6).prop_map(Happens::Run),
        2 => (0_usize..3).prop_map(Happens::Killed),
        1 => Just(Happens::Refused),
        1 => Just(Happens::TooMuch),
        3 => (0_u8..12, 0_u8..4).prop_map(|(key, content)| Happens::Put(key, content)),
        2 => (0_u8..12).prop_map(Happens::Gone),
        2 => (1_u32..2000).prop_map(Happens::Later),
    ]
}

/// A feed that is not ordered, its pages by key, and one sync of it.
struct Model {
    feed: BTreeMap<u8, (u8, Timestamp)>,
    /// What is stored.
    state: SyncState,
    known: BTreeMap<u8, KnownRecord>,
    /// The keys that the pages of passes of keys had, by the number of the pass.
    seen: BTreeMap<u32, Vec<u8>>,
    /// What the events show to their readers.
    shown_by_events: BTreeMap<u8, u8>,
    events: BTreeSet<String>,
    /// What was published by a run that was killed before it kept what is known. If that is undone when the page is read
    /// again, nothing is published: it is as it was known. This is documented.
    unsure: BTreeSet<u8>,
    now: Timestamp,
}

const PAGE: usize = 3;

fn record(key: u8, (content, at): (u8, Timestamp)) -> Incoming {
    Incoming {
        key: key.to_string(),
        version: None,
        presence: Presence::Live(json!({ "content": content })),
        modified_at: Some(at),
    }
}

impl Model {
    fn new() -> Self {
        let feed = (0..8).map(|key| (key, (0, start()))).collect();
        Self {
            feed,
            state: SyncState::default(),
            known: BTreeMap::new(),
            seen: BTreeMap::new(),
            shown_by_events: BTreeMap::new(),
            events: BTreeSet::new(),
            unsure: BTreeSet::new(),
            now: start(),
        }
    }

    fn publish(&mut self, id: String, key: u8, content: Option<u8>) {
        if self.events.insert(id) {
            match content {
                Some(content) => self.shown_by_events.insert(key, content),
                None => self.shown_by_events.remove(&key),
            };
        }
    }

    /// One turn, which ends after so many of its three writes. False where nothing is left to do.
    fn turn(&mut self, writes: usize) -> bool {
        let kind = KindName::Bridge.row();
        let mut state = self.state.clone();
        if state.begin(kind, "p", self.now) {
            self.state = state.clone();
        }
        let pass = state.pass.clone().unwrap();
        if pass.sweeping {
            return self.end(state, writes);
        }
        let after: Option<u8> = pass.next.as_ref().map(|next| next.parse().unwrap());
        let since: Option<Timestamp> = match pass.mode {
            PassMode::Full | PassMode::Keys => None,
            PassMode::Delta => state.position.as_deref().map(|at| at.parse().unwrap()),
        };
        let rows = self.feed.iter().filter(|(key, (_, at))| {
            after.is_none_or(|after| **key > after) && since.is_none_or(|since| *at >= since - MINUTE * 5)
        });
        let rows: Vec<_> = rows.map(|(key, row)| (*key, *row)).collect();
        let shown = &rows[..rows.len().min(PAGE)];
        let mut page = Page::default();
        if rows.len() > PAGE {
            page.next = shown.last().map(|(key, _)| key.to_string());
        }
        let mut done = Counts::default();
        if pass.mode == PassMode::Keys {
            page.records = shown.iter().map(|(key, row)| record(*key, *row)).collect();
            if writes >= 1 {
                let keys = shown.iter().map(|(key, _)| *key);
                self.seen.entry(state.full_passes).or_default().extend(keys);
            }
            if writes >= 2 {
                state.page_done(&page, done, self.now);
                self.state = state;
            }
            return true;
        }
        let mut keep = Vec::new();
        for (key, (content, at)) in shown {
            let incoming = record(*key, (*content, *at));
            let before = self.known.get(key).cloned();
            let from = before.as_ref().map_or("", |known| &known.hash).to_owned();
            let pass = state.full_passes;
            let id = |to: &str| format!("{key}#{from}#{to}#{at}#{pass}");
            match change(before.as_ref(), &incoming, &[], state.mark()) {
                Change::Created { known, .. } => {
                    done.created += 1;
                    if writes == 0 {
                        self.unsure.insert(*key);
                    }
                    self.publish(id(&known.hash), *key, Some(*content));
                    keep.push((*key, known));
                }
                Change::Updated { known, .. } => {
                    if writes == 0 {
                        self.unsure.insert(*key);
                    }
                    self.publish(id(&known.hash), *key, Some(*content));
                    keep.push((*key, known));
                }
                Change::Noted { known } => keep.push((*key, known)),
                Change::Removed { .. } | Change::Unchanged => {}
            }
            page.records.push(incoming);
        }
        if writes >= 1 {
            self.known.extend(keep);
        }
        if writes >= 2 {
            state.page_done(&page, done, self.now);
            self.state = state;
        }
        true
    }

    fn end(&mut self, mut state: SyncState, writes: usize) -> bool {
        let kind = KindName::Bridge.row();
        let (mut held, number) = (None, state.full_passes);
        if !state.is_in(PassMode::Delta) {
            let of_keys = state.is_in(PassMode::Keys);
            let seen = self.seen.get(&number).cloned().unwrap_or_default();
            let is_missing = |key: &u8, known: &KnownRecord| {
                if of_keys { !seen.contains(key) } else { known.seen_in != number }
            };
            let strays = seen.iter().filter(|key| !self.known.contains_key(key));
            let strays: Vec<_> = strays.map(|key| u64::from(*key)).collect();
            let missing = self.known.iter().filter(|(key, known)| is_missing(key, known));
            let missing: Vec<_> = missing.map(|(key, known)| (*key, known.hash.clone())).collect();
            state.counted(u64::try_from(self.known.len()).unwrap());
            let count = u64::try_from(missing.len()).unwrap();
            let brake = Brake { least: 2, percent: 10 };
            if brake.decide(count, state.known, state.held) == Sweep::Hold {
                held = Some(count);
            } else {
                let began = state.pass.as_ref().unwrap().started_at;
                for (key, hash) in missing {
                    self.publish(format!("{key}#{hash}#removed#{began}"), key, None);
                    if writes >= 1 {
                        self.known.remove(&key);
                    }
                }
                state.swept(count);
                if of_keys {
                    // One that was gone between two passes and is there again is taken for lost, which costs a full pass.
                    state.found_strays(strays, self.now);
                }
            }
        }
        assert!(state.complete(kind, held, self.now));
        if writes >= 2 {
            self.state = state;
        }
        self.state.pass.is_some() || self.state.held.is_some() || self.state.delta_next
    }

    fn forget_unsure(&mut self) {
        let unsure = &self.unsure;
        self.shown_by_events.retain(|key, _| !unsure.contains(key));
    }

    fn sure_feed(&self) -> BTreeMap<u8, u8> {
        let sure = self.feed.iter().filter(|(key, _)| !self.unsure.contains(key));
        sure.map(|(key, (content, _))| (*key, *content)).collect()
    }

    fn is_sweeping(&self) -> bool {
        self.state.pass.as_ref().is_some_and(|pass| pass.sweeping)
    }

    fn step(&mut self, happens: &Happens) {
        match happens {
            Happens::Run(pages) => {
                for _ in 0..*pages {
                    self.turn(2);
                }
            }
            Happens::Killed(writes) => {
                self.turn((*writes).min(1));
            }
            // No page is read in a sweep.
            Happens::Refused | Happens::TooMuch if self.is_sweeping() => {}
            Happens::Refused => self.state.drop_pass(),
            Happens::TooMuch => {
                self.state.halve(KindName::Bridge.row());
            }
            Happens::Put(key, content) => {
                self.feed.insert(*key, (*content, self.now));
            }
            Happens::Gone(key) => {
                self.feed.remove(key);
            }
            Happens::Later(minutes) => self.now = self.now + MINUTE * *minutes,
        }
        // Two things never happen in the same millisecond.
        self.now = self.now + Duration::from_millis(1);
    }

    /// Runs until a full pass is complete that began now, and the events show its removals.
    fn settle(&mut self) {
        while self.is_sweeping() {
            self.turn(2);
        }
        self.state.drop_pass();
        self.now = self.now + DAY * 2;
        self.state.delta_next = false;
        for _ in 0..100 {
            self.now = self.now + Duration::from_millis(1);
            if !self.turn(2) {
                return;
            }
        }
        panic!("it does not end: {:?}", self.state);
    }
}

proptest! {
    /// Whatever happened before, after a complete full pass what is known is the feed, and so is what the events say.
    #[test]
    fn a_complete_full_pass_leaves_no_difference(steps in proptest::collection::vec(happens(), 0..60)) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.settle();
        prop_assert_eq!(model.state.known, u64::try_from(model.feed.len()).unwrap());
        prop_assert!(model.known.keys().eq(model.feed.keys()));
        model.forget_unsure();
        let feed = model.sure_feed();
        prop_assert_eq!(&model.shown_by_events, &feed);
    }

    /// Without removals a delta is enough, however passes broke off.
    #[test]
    fn a_complete_delta_misses_no_change(steps in proptest::collection::vec(happens(), 0..60)) {
        let mut model = Model::new();
        model.settle();
        for step in steps.iter().filter(|step| !matches!(step, Happens::Gone(_) | Happens::Later(_))) {
            model.step(step);
        }
        model.state.drop_pass();
        while model.turn(2) {
            model.now = model.now + Duration::from_millis(1);
        }
        model.forget_unsure();
        let feed = model.sure_feed();
        prop_assert_eq!(&model.shown_by_events, &feed);
    }
}
