use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::controller::fixtures::at;

const NAMESPACES: [&str; 2] = ["a", "b"];

/// A resource as a person would describe it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
#[derive(Debug, Clone, PartialEq)]
struct Resource {
    uid: u32,
    generation: u32,
    request: Option<u8>,
    secret: u8,
    account: u8,
    created: u8,
    is_being_deleted: bool,
    is_decodable: bool,
    /// The account, and when.
    last_reset: Option<(u8, u8)>,
    has_fingerprint: bool,
    /// `status.observedGeneration`
    observed: u32,
    /// Whatever else the operator or others write: conditions, the last attempt, labels.
    noise: u8,
    /// Whether this process has written the status.
    is_own: bool,
    /// Whether the status says that nothing is to be done as long as the Secret is not touched.
    is_in_sync: bool,
}

impl Resource {
    fn new(uid: u32) -> Self {
        Self {
            uid,
            generation: 1,
            request: None,
            secret: 0,
            account: 0,
            created: 0,
            is_being_deleted: false,
            is_decodable: true,
            last_reset: None,
            has_fingerprint: true,
            observed: 0,
            noise: 0,
            is_own: true,
            is_in_sync: false,
        }
    }

    fn facts(&self, name: &ObjectName) -> Facts {
        let watched: Watched = serde_json::from_value(self.json(name)).unwrap();
        assert_eq!(matches!(watched, Watched::Decoded(_)), self.is_decodable);
        Facts::of(&watched, |_| self.is_own, |_| self.is_in_sync)
    }

    fn json(&self, name: &ObjectName) -> Value {
        let mut json = json!({
            "apiVersion": "rds.password-operator.dev/v1alpha1",
            "kind": "DatabaseAccountPassword",
            "metadata": {
                "namespace": name.namespace,
                "name": name.name,
                "uid": format!("uid-{:04}", self.uid),
                "generation": self.generation,
                "creationTimestamp": at(self.created.into()).to_string(),
                "labels": { "noise": self.noise.to_string() },
            },
            "spec": {
                "instanceId": "rm-1",
                "accountName": account(self.account).account_name,
                "passwordSecretRef": { "name": secret_name(self.secret) },
            },
            "status": {
                "observedGeneration": self.observed,
                "lastAttempt": {
                    "time": at(self.noise.into()).to_string(),
                    "failures": self.noise,
                    "nextTime": at(self.noise.into()).to_string(),
                    "fingerprint": { "keyId": "k", "mac": self.noise.to_string() },
                },
                "conditions": [{
                    "type": "Ready",
                    "status": "False",
                    "reason": "Pending",
                    "message": self.noise.to_string(),
                    "lastTransitionTime": at(self.noise.into()).to_string(),
                }],
            },
        });
        if let Some(request) = self.request {
            json["metadata"]["annotations"] =
                json!({ crate::api::REQUESTED_AT_ANNOTATION: request.to_string() });
        }
        if self.is_being_deleted {
            json["metadata"]["deletionTimestamp"] = json!(at(0).to_string());
        }
        if !self.is_decodable {
            json["spec"]["suspend"] = json!("of a later version");
        }
        if let Some((reset_account, time)) = self.last_reset {
            json["status"]["lastReset"] = json!({
                "time": at(time.into()).to_string(),
                "requestId": "D4D4BE8A-DD46-440A-BFCD-EE31DA81C9DD",
                "trigger": "Created",
                "instanceId": "rm-1",
                "accountName": account(reset_account).account_name,
                "secret": { "uid": "u", "resourceVersion": "1", "key": "password" },
            });
            if self.has_fingerprint {
                json["status"]["lastReset"]["fingerprint"] = json!({ "keyId": "k", "mac": "m" });
            }
        }
        json
    }

    fn claims(&self) -> Option<u8> {
        (!self.is_being_deleted).then_some(self.account)
    }

    fn reads(&self) -> Option<u8> {
        self.is_decodable.then_some(self.secret)
    }

    fn must_resend(&self) -> bool {
        let of_this_account = self
            .last_reset
            .is_some_and(|(account, _)| account == self.account);
        self.is_decodable && of_this_account && !self.has_fingerprint
    }

    /// What a pass looks at, but for the operator's own notes.
    fn differs_for_a_pass(&self, before: &Self) -> bool {
        (
            self.uid,
            self.generation,
            self.request,
            self.reads(),
            self.claims(),
        ) != (
            before.uid,
            before.generation,
            before.request,
            before.reads(),
            before.claims(),
        ) || (self.must_resend() && !before.must_resend())
            || (self.is_decodable && !self.is_own && self.status() != before.status())
    }

    fn status(&self) -> impl PartialEq + use<> {
        let last_reset = self.last_reset.map(|reset| (reset, self.has_fingerprint));
        (self.observed, self.noise, last_reset)
    }
}

fn account(number: u8) -> Target {
    Target {
        instance_id: "rm-1".to_owned(),
        account_name: format!("account-{number}"),
    }
}

fn secret_name(number: u8) -> String {
    format!("secret-{number}")
}

fn secret(namespace: &str, number: u8) -> ObjectName {
    object(namespace, &secret_name(number))
}

fn object(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// What there is, in lists that are searched from the start for every question.
#[derive(Debug, Clone, Default)]
struct Model {
    resources: Vec<(ObjectName, Resource)>,
    seen: Vec<(ObjectName, u8)>,
    uids: u32,
}

impl Model {
    fn get(&self, name: &ObjectName) -> Option<&Resource> {
        let mut found = self.resources.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, resource)| resource)
    }

    fn put(&mut self, name: &ObjectName, resource: Resource) {
        self.remove(name);
        self.resources.push((name.clone(), resource));
    }

    fn remove(&mut self, name: &ObjectName) {
        self.resources.retain(|(other, _)| other != name);
    }

    fn names(&self, chosen: impl Fn(&ObjectName, &Resource) -> bool) -> Concerned {
        let chosen = self
            .resources
            .iter()
            .filter(|(name, resource)| chosen(name, resource));
        chosen.map(|(name, _)| name.clone()).collect()
    }

    fn claimants(&self, account: u8) -> Concerned {
        self.names(|_, resource| resource.claims() == Some(account))
    }

    fn readers(&self, secret: &ObjectName) -> Concerned {
        self.names(|name, resource| {
            name.namespace == secret.namespace
                && resource.reads().map(secret_name).as_deref() == Some(secret.name.as_str())
        })
    }

    /// Who reset the account last; where nobody did, the oldest.
    fn owner(&self, account: u8) -> Option<(ObjectName, u32)> {
        let mut claimants: Vec<_> = self
            .resources
            .iter()
            .filter(|(_, resource)| resource.claims() == Some(account))
            .collect();
        let reset_at = |resource: &Resource| match resource.last_reset {
            Some((of, time)) if of == account => Some(time),
            _ => None,
        };
        // Who knows of no later reset goes ahead.
        let rank = |resource: &Resource| {
            let is_latest = resource.has_fingerprint || !resource.is_decodable;
            reset_at(resource).map(|time| (is_latest, time))
        };
        if let Some(newest) = claimants.iter().filter_map(|(_, one)| rank(one)).max() {
            claimants.retain(|(_, resource)| rank(resource) == Some(newest));
        }
        claimants.sort_by_key(|(_, resource)| (resource.created, resource.uid));
        claimants
            .first()
            .map(|(name, resource)| (name.clone(), resource.uid))
    }

    fn accounts() -> impl Iterator<Item = u8> {
        0..3
    }

    /// Whoever is new or changed in what a pass looks at, and everyone who names an account whose owner is another now.
    fn concerned_since(&self, before: &Self) -> Concerned {
        let mut concerned = self.names(|name, resource| {
            before
                .get(name)
                .is_none_or(|old| resource.differs_for_a_pass(old))
        });
        for account in Self::accounts() {
            if before.owner(account).map(|(_, uid)| uid) != self.owner(account).map(|(_, uid)| uid)
            {
                concerned.extend(self.claimants(account));
            }
        }
        concerned
    }

    /// Everyone who names an account that anyone named who differs at all.
    fn touched_since(&self, before: &Self) -> Concerned {
        let mut accounts = Vec::new();
        for (name, resource) in self.resources.iter().chain(&before.resources) {
            if self.get(name) != before.get(name) {
                accounts.push(resource.account);
            }
        }
        self.names(|name, resource| {
            self.get(name) != before.get(name) || accounts.contains(&resource.account)
        })
    }

    fn forget_unread(&mut self) {
        let mut seen = std::mem::take(&mut self.seen);
        seen.retain(|(secret, _)| !self.readers(secret).is_empty());
        self.seen = seen;
    }
}

#[derive(Debug, Clone)]
enum Change {
    /// Another Secret and account.
    Spec(u8, u8),
    /// Another generation, and nothing else that the index knows.
    Suspend,
    Request(u8),
    /// The operator's own write after a reset.
    Reset(u8),
    /// The operator's own write where another reset came meanwhile.
    Overlapped,
    /// The status speaks of the generation so many before.
    Observed(u32),
    /// The operator's own write after anything else, or somebody's label.
    /// And whether this process wrote it.
    Noise(u8, bool),
    BeginDeletion,
    Decodable(bool),
    /// Deleted and created anew, without the watch telling of the deletion.
    Recreate(u8),
}

#[derive(Debug, Clone)]
enum Event {
    Apply(ObjectName, Change),
    Delete(ObjectName),
    /// A list, after these changes and deletions that no event told.
    List(Option<&'static str>, Vec<(ObjectName, Option<Change>)>),
    SecretSeen(ObjectName, u8),
    SecretGone(ObjectName),
    SecretsListed(Option<&'static str>, Vec<ObjectName>),
}

impl Model {
    fn change(&mut self, name: &ObjectName, change: &Change) {
        let mut resource = self.get(name).cloned().unwrap_or_else(|| {
            self.uids += 1;
            Resource::new(self.uids)
        });
        match *change {
            Change::Spec(secret, account) => {
                resource.generation += 1;
                (resource.secret, resource.account) = (secret, account);
            }
            Change::Suspend => resource.generation += 1,
            Change::Request(value) => resource.request = Some(value),
            Change::Reset(time) => {
                resource.last_reset = Some((resource.account, time));
                resource.has_fingerprint = true;
            }
            Change::Overlapped => resource.has_fingerprint = false,
            Change::Observed(behind) => {
                resource.observed = resource.generation.saturating_sub(behind);
            }
            Change::Noise(noise, is_own) => (resource.noise, resource.is_own) = (noise, is_own),
            Change::BeginDeletion => {
                resource.generation += 1;
                resource.is_being_deleted = true;
            }
            Change::Decodable(is_decodable) => resource.is_decodable = is_decodable,
            Change::Recreate(created) => {
                self.uids += 1;
                resource = Resource {
                    created,
                    secret: resource.secret,
                    account: resource.account,
                    ..Resource::new(self.uids)
                };
            }
        }
        self.put(name, resource);
    }
}

/// Index and model side by side.
#[derive(Default)]
struct Pair {
    index: Index,
    model: Model,
}

impl Pair {
    /// Tells both of the event, and holds what the index says against the laws.
    fn tell(&mut self, event: &Event) {
        let before = self.model.clone();
        match event {
            Event::Apply(name, change) => {
                self.model.change(name, change);
                let facts = self.model.get(name).unwrap().facts(name);
                let concerned = self.index.apply(name, facts);
                assert_eq!(concerned, self.model.concerned_since(&before));
            }
            Event::Delete(name) => {
                self.model.remove(name);
                let concerned = self.index.delete(name);
                assert_eq!(concerned, self.model.concerned_since(&before));
            }
            Event::List(namespace, changes) => {
                for (name, change) in changes {
                    if namespace.is_some_and(|namespace| namespace != name.namespace) {
                        continue;
                    }
                    match change {
                        Some(change) => self.model.change(name, change),
                        None => self.model.remove(name),
                    }
                }
                let listed: Vec<_> = self
                    .model
                    .resources
                    .iter()
                    .filter(|(name, _)| {
                        namespace.is_none_or(|namespace| namespace == name.namespace)
                    })
                    .map(|(name, resource)| (name.clone(), resource.facts(name)))
                    .collect();
                let concerned = self.index.replace(*namespace, listed);
                // On the way through the list owners may change and change back: more may be concerned than must be, but
                // nobody who has nothing to do with any difference.
                let least = self.model.concerned_since(&before);
                let most = self.model.touched_since(&before);
                assert!(least.is_subset(&concerned), "{least:?} {concerned:?}");
                assert!(concerned.is_subset(&most), "{concerned:?} {most:?}");
                // A Secret that goes from one reader to another may have had none in between.
                let Self { index, model } = self;
                model
                    .seen
                    .retain(|(secret, _)| index.secrets.contains_key(secret));
            }
            Event::SecretSeen(secret, version) => {
                let concerned = self
                    .index
                    .secret_seen(secret, self::version(&version.to_string()));
                let readers = self.model.readers(secret);
                let told = (secret.clone(), *version);
                if self.model.seen.contains(&told) {
                    assert!(concerned.is_empty());
                } else {
                    assert_eq!(concerned, readers);
                }
                self.model.seen.retain(|(other, _)| other != secret);
                self.model.seen.push(told);
            }
            Event::SecretGone(secret) => {
                let concerned = self.index.secret_gone(secret);
                assert_eq!(concerned, self.model.readers(secret));
                self.model.seen.retain(|(other, _)| other != secret);
            }
            Event::SecretsListed(namespace, listed) => {
                let concerned = self
                    .index
                    .secrets_listed(*namespace, &listed.iter().cloned().collect());
                let is_missing = |secret: &ObjectName| {
                    !listed.contains(secret)
                        && namespace.is_none_or(|namespace| namespace == secret.namespace)
                };
                let expected = self.model.names(|name, resource| {
                    let secret = resource
                        .reads()
                        .map(|number| secret(&name.namespace, number));
                    secret.is_some_and(|secret| is_missing(&secret))
                });
                assert_eq!(concerned, expected);
                self.model.seen.retain(|(secret, _)| !is_missing(secret));
            }
        }
        self.model.forget_unread();
        self.compare();
    }

    /// Every question has the answer that a search through everything gives, and nothing else is kept.
    fn compare(&self) {
        let Self { index, model } = self;
        assert_eq!(index.resources.len(), model.resources.len());
        for account_number in Model::accounts() {
            let target = account(account_number);
            let owners = model.names(|name, _| index.owns(name, &target) == Some(true));
            let owner = model.owner(account_number).map(|(name, _)| name);
            assert_eq!(owners, owner.into_iter().collect());
            let known = model.names(|name, _| index.owns(name, &target).is_some());
            assert_eq!(known, model.claimants(account_number));
        }
        for namespace in NAMESPACES {
            for number in 0..2 {
                let secret = secret(namespace, number);
                assert_eq!(index.is_read(&secret), !model.readers(&secret).is_empty());
            }
        }
        let seen: HashMap<_, _> = model
            .seen
            .iter()
            .map(|(secret, told)| (secret.clone().into(), version(&told.to_string())))
            .collect();
        let mut there = HashMap::new();
        for (secret, seen) in &index.secrets {
            assert!(index.is_read(secret));
            if let SeenSecret::There(version) = seen {
                there.insert(secret.clone(), version.clone());
            }
        }
        assert_eq!(there, seen);
        let links = |sets: usize| (sets, sets);
        let targets: usize = index.by_target.values().map(Vec::len).sum();
        let claims = model.names(|_, resource| resource.claims().is_some());
        assert_eq!((targets, claims.len()), links(claims.len()));
        assert!(index.by_target.values().all(|names| !names.is_empty()));
        assert!(index.by_secret.values().all(|names| !names.is_empty()));
    }

    fn delete_everything(&mut self) {
        let names = self.model.names(|_, _| true);
        for name in names {
            self.tell(&Event::Delete(name));
        }
        let index = &self.index;
        assert!(index.resources.is_empty());
        assert!(index.by_target.is_empty() && index.by_secret.is_empty());
        assert!(index.secrets.is_empty());
    }
}

fn any_name() -> impl Strategy<Value = ObjectName> {
    (select(&NAMESPACES), select(&["x", "y"])).prop_map(|(namespace, name)| object(namespace, name))
}

fn any_secret() -> impl Strategy<Value = ObjectName> {
    (select(&NAMESPACES), 0_u8..2).prop_map(|(namespace, number)| secret(namespace, number))
}

fn any_scope() -> impl Strategy<Value = Option<&'static str>> {
    select(&[None, Some(NAMESPACES[0]), Some(NAMESPACES[1])])
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0_u8..2, 0_u8..3).prop_map(|(secret, account)| Change::Spec(secret, account)),
        1 => Just(Change::Suspend),
        1 => (0_u8..3).prop_map(Change::Request),
        3 => (0_u8..8).prop_map(Change::Reset),
        1 => Just(Change::Overlapped),
        2 => (0..2_u32).prop_map(Change::Observed),
        3 => (0_u8..3, any::<bool>()).prop_map(|(noise, is_own)| Change::Noise(noise, is_own)),
        1 => Just(Change::BeginDeletion),
        2 => any::<bool>().prop_map(Change::Decodable),
        2 => (0_u8..3).prop_map(Change::Recreate),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let all_secrets: Vec<_> = NAMESPACES
        .iter()
        .flat_map(|namespace| [secret(namespace, 0), secret(namespace, 1)])
        .collect();
    let changes = proptest::collection::vec((any_name(), proptest::option::of(any_change())), 0..4);
    prop_oneof![
        8 => (any_name(), any_change()).prop_map(|(name, change)| Event::Apply(name, change)),
        2 => any_name().prop_map(Event::Delete),
        2 => (any_scope(), changes).prop_map(|(scope, changes)| Event::List(scope, changes)),
        4 => (any_secret(), 0_u8..2).prop_map(|(secret, version)| Event::SecretSeen(secret, version)),
        1 => any_secret().prop_map(Event::SecretGone),
        1 => (any_scope(), subsequence(all_secrets, 0..=4))
            .prop_map(|(scope, listed)| Event::SecretsListed(scope, listed)),
    ]
}

proptest! {
    #[test]
    fn the_index_answers_like_a_search_through_everything(
        events in proptest::collection::vec(any_event(), 1..40),
    ) {
        let mut pair = Pair::default();
        for event in &events {
            pair.tell(event);
        }
        pair.delete_everything();
    }

    /// However a state came about: a list that brings it again concerns nobody, and neither does a Secret that is listed again.
    #[test]
    fn nothing_new_concerns_nobody(events in proptest::collection::vec(any_event(), 1..20)) {
        let mut pair = Pair::default();
        for event in &events {
            pair.tell(event);
        }
        let Pair { mut index, model } = pair;
        let listed = model.resources.iter().map(|(name, resource)| (name.clone(), resource.facts(name)));
        prop_assert_eq!(index.replace(None, listed.rev().collect::<Vec<_>>()), Concerned::new());
        for (secret, version) in &model.seen {
            prop_assert_eq!(index.secret_seen(secret, self::version(&version.to_string())), Concerned::new());
        }
    }
}

// ------------------------------------------------------------------ examples

fn apply(index: &mut Index, name: &ObjectName, resource: &Resource) -> Concerned {
    index.apply(name, resource.facts(name))
}

fn both() -> (ObjectName, ObjectName) {
    (object("a", "x"), object("b", "y"))
}

/// Two resources of one account; the older one has not reset it, the younger one has.
fn younger_owner() -> (Index, (ObjectName, Resource), (ObjectName, Resource)) {
    let (x, y) = both();
    let older = Resource::new(1);
    let younger = Resource {
        created: 9,
        last_reset: Some((0, 5)),
        ..Resource::new(2)
    };
    let mut index = Index::default();
    apply(&mut index, &y, &younger);
    apply(&mut index, &x, &older);
    (index, (x, older), (y, younger))
}

#[test]
fn an_older_resource_does_not_take_over_an_account_that_was_reset() {
    let (index, (x, _), (y, _)) = younger_owner();
    assert_eq!(index.owns(&x, &account(0)), Some(false));
    assert_eq!(index.owns(&y, &account(0)), Some(true));
}

/// SQL Server does not tell names apart that differ in case only, and which engine it is, is not known here.
#[rstest]
fn names_that_differ_in_case_only_are_one_account(
    #[values("ACCOUNT-0", "Account-0", "account-0")] spelled: &str,
) {
    let (mut index, (x, _), (y, younger)) = younger_owner();
    let target = Target {
        account_name: spelled.to_owned(),
        ..account(0)
    };
    let spelled_so = |name: &ObjectName, resource: &Resource| {
        let mut json = resource.json(name);
        json["spec"]["accountName"] = json!(spelled);
        let watched: Watched = serde_json::from_value(json).unwrap();
        Facts::of(&watched, |_| true, |_| false)
    };
    index.apply(&x, spelled_so(&x, &Resource::new(1)));
    assert_eq!(index.owns(&x, &target), Some(false));
    assert_eq!(index.owns(&y, &account(0)), Some(true));

    // Nor does the owner lose the account when its own spelling is corrected, though the other one is older.
    let corrected = Resource {
        generation: 2,
        ..younger
    };
    index.apply(&y, spelled_so(&y, &corrected));
    assert_eq!(index.owns(&y, &target), Some(true));
    assert_eq!(index.owns(&x, &target), Some(false));

    let concerned = index.delete(&y);
    assert!(concerned.contains(&x));
    assert_eq!(index.owns(&x, &target), Some(true));
}

#[test]
fn the_owner_stays_the_owner_while_it_cannot_be_decoded() {
    let (mut index, (x, _), (y, younger)) = younger_owner();
    let broken = Resource {
        is_decodable: false,
        ..younger
    };
    apply(&mut index, &y, &broken);
    assert_eq!(index.owns(&x, &account(0)), Some(false));
    assert_eq!(index.owns(&y, &account(0)), Some(true));
}

#[rstest]
#[case::is_deleted(|_| None)]
#[case::is_being_deleted(|owner| Some(Resource { is_being_deleted: true, ..owner }))]
#[case::names_another_account(|owner| Some(Resource { generation: 2, account: 1, ..owner }))]
#[case::was_created_anew(|owner: Resource| Some(Resource { created: owner.created, ..Resource::new(3) }))]
fn the_other_one_takes_over_when_the_owner(#[case] becomes: fn(Resource) -> Option<Resource>) {
    let (mut index, (x, _), (y, younger)) = younger_owner();
    let concerned = match becomes(younger) {
        Some(changed) => apply(&mut index, &y, &changed),
        None => index.delete(&y),
    };
    assert!(concerned.contains(&x));
    assert_eq!(index.owns(&x, &account(0)), Some(true));
}

#[test]
fn the_operators_own_writes_concern_nobody() {
    let (mut index, (x, mut older), (y, mut younger)) = younger_owner();
    younger.noise = 1;
    younger.last_reset = Some((0, 7));
    assert_eq!(apply(&mut index, &y, &younger), Concerned::new());
    older.noise = 2;
    assert_eq!(apply(&mut index, &x, &older), Concerned::new());
}

#[test]
fn a_reset_that_another_one_may_have_followed_concerns_its_resource_once() {
    let (mut index, _, (y, mut younger)) = younger_owner();
    younger.has_fingerprint = false;
    assert_eq!(
        apply(&mut index, &y, &younger),
        Concerned::from([y.clone()])
    );
    younger.noise = 1;
    assert_eq!(apply(&mut index, &y, &younger), Concerned::new());
}

/// A process that led before writes what it found before it knew that.
#[test]
fn a_status_that_another_process_wrote_concerns_its_resource_once() {
    let (x, _) = both();
    let mut resource = Resource::new(1);
    let mut index = Index::default();
    let _ = apply(&mut index, &x, &resource);
    resource.noise = 1;
    resource.is_own = false;
    assert_eq!(
        apply(&mut index, &x, &resource),
        Concerned::from([x.clone()])
    );
    assert_eq!(apply(&mut index, &x, &resource), Concerned::new());
    resource.noise = 2;
    resource.is_own = true;
    assert_eq!(apply(&mut index, &x, &resource), Concerned::new());
}

/// The only reader's own status writes must not make a Secret look new.
#[test]
fn a_version_of_a_secret_stays_seen_when_its_only_reader_changes() {
    let name = object("a", "x");
    let mut resource = Resource::new(1);
    let mut index = Index::default();
    apply(&mut index, &name, &resource);
    let read = secret("a", 0);
    assert_eq!(
        index.secret_seen(&read, version("1")),
        Concerned::from([name.clone()])
    );
    resource.noise = 1;
    apply(&mut index, &name, &resource);
    assert_eq!(index.secret_seen(&read, version("1")), Concerned::new());
    assert_eq!(
        index.secret_seen(
            &read,
            ObjectVersion {
                uid: "another uid".to_owned(),
                ..version("1")
            }
        ),
        Concerned::from([name])
    );
}

#[test]
fn the_index_does_not_speak_for_an_account_that_it_has_not_heard_of_yet() {
    let name = object("a", "x");
    let mut index = Index::default();
    assert_eq!(index.owns(&name, &account(0)), None);
    apply(&mut index, &name, &Resource::new(1));
    assert_eq!(index.owns(&name, &account(0)), Some(true));
    assert_eq!(index.owns(&name, &account(1)), None);
}

// ------------------------------------------------------------------ several watches

fn awaiting(namespaces: &[Option<&str>]) -> Index {
    let mut index = Index::default();
    for namespace in namespaces {
        index.await_list(*namespace);
    }
    index
}

fn list(
    index: &mut Index,
    namespace: Option<&str>,
    listed: &[(&ObjectName, &Resource)],
) -> Concerned {
    let listed: Vec<_> = listed
        .iter()
        .map(|(name, resource)| ((*name).clone(), resource.facts(name)))
        .collect();
    index.replace(namespace, listed)
}

/// After a restart, the namespace whose list comes first must not take over the accounts of the others.
#[test]
fn nobody_becomes_an_owner_before_every_namespace_is_listed() {
    let (x, y) = both();
    let idle = Resource::new(1);
    let owner = Resource {
        created: 9,
        last_reset: Some((0, 5)),
        ..Resource::new(2)
    };
    let mut index = awaiting(&[Some("a"), Some("b")]);
    list(&mut index, Some("a"), &[(&x, &idle)]);
    assert_eq!(index.owns(&x, &account(0)), None);
    let concerned = list(&mut index, Some("b"), &[(&y, &owner)]);
    assert_eq!(concerned, Concerned::from([x.clone(), y.clone()]));
    assert_eq!(index.owns(&x, &account(0)), Some(false));
    assert_eq!(index.owns(&y, &account(0)), Some(true));
}

/// One namespace that cannot be listed must not stop those who have reset their account before.
#[rstest]
#[case::that_reset_its_account(Some((0, 5)), true, Some(true))]
#[case::that_never_did(None, true, None)]
#[case::that_reset_another_account(Some((1, 5)), true, None)]
#[case::that_another_may_have_followed(Some((0, 5)), false, None)]
fn before_all_lists_the_index_speaks_for_one(
    #[case] last_reset: Option<(u8, u8)>,
    #[case] has_fingerprint: bool,
    #[case] owns: Option<bool>,
) {
    let (x, _) = both();
    let resource = Resource {
        last_reset,
        has_fingerprint,
        ..Resource::new(1)
    };
    let mut index = awaiting(&[Some("a"), Some("b")]);
    let concerned = list(&mut index, Some("a"), &[(&x, &resource)]);
    assert_eq!(concerned, Concerned::from([x.clone()]));
    assert_eq!(index.owns(&x, &account(0)), owns);
    // Who was not spoken for is looked at again.
    let concerned = list(&mut index, Some("b"), &[]);
    assert_eq!(concerned.contains(&x), owns.is_none());
    assert_eq!(index.owns(&x, &account(0)), Some(true));
    // A later list is one like any other.
    assert_eq!(list(&mut index, Some("b"), &[]), Concerned::new());
}

#[test]
fn a_list_over_all_namespaces_is_the_only_one() {
    let (x, _) = both();
    let mut index = awaiting(&[None]);
    list(&mut index, None, &[(&x, &Resource::new(1))]);
    assert_eq!(index.owns(&x, &account(0)), Some(true));
}

// ------------------------------------------------------------------ held back

fn in_sync(uid: u32) -> Resource {
    Resource {
        last_reset: Some((0, 5)),
        is_in_sync: true,
        ..Resource::new(uid)
    }
}

/// One resource in sync, whose Secret is not listed yet.
fn held_back() -> (Index, ObjectName, Resource) {
    let (name, resource) = (object("a", "x"), in_sync(1));
    let mut index = awaiting(&[None]);
    index.await_secrets(None);
    let concerned = list(&mut index, None, &[(&name, &resource)]);
    assert_eq!(concerned, Concerned::new());
    (index, name, resource)
}

fn version(resource_version: &str) -> ObjectVersion {
    ObjectVersion {
        uid: "uid".to_owned(),
        resource_version: resource_version.to_owned(),
    }
}

#[test]
fn who_is_in_sync_waits_for_the_version_of_its_secret() {
    let (mut index, name, _) = held_back();
    let concerned = index.secret_seen(&secret("a", 0), version("1"));
    assert_eq!(concerned, Concerned::from([name.clone()]));
    assert_eq!(index.take_first_look(&name), Some(&version("1")));
    assert_eq!(index.take_first_look(&name), None, "only the first");
}

#[test]
fn who_is_in_sync_waits_no_longer_than_for_the_list() {
    let (mut index, name, _) = held_back();
    let concerned = index.secrets_listed(None, &HashSet::new());
    assert_eq!(concerned, Concerned::from([name.clone()]));
    assert_eq!(index.take_first_look(&name), None);
}

#[test]
fn who_is_in_sync_does_not_wait_for_a_list_that_fails() {
    let (mut index, name, resource) = held_back();
    assert_eq!(
        index.secrets_unlisted(None),
        Concerned::from([name.clone()])
    );
    assert_eq!(
        index.secrets_unlisted(None),
        Concerned::new(),
        "it is told once"
    );
    index.delete(&name);
    let concerned = apply(&mut index, &name, &resource);
    assert_eq!(concerned, Concerned::from([name]), "nor for the next one");
}

/// The Secret was on a page that came while nobody read it.
#[test]
fn nobody_waits_for_a_version_that_was_forgotten() {
    let (mut index, name, mut resource) = held_back();
    let read = secret("a", 0);
    index.secret_seen(&read, version("1"));
    (resource.secret, resource.generation, resource.is_in_sync) = (1, 2, false);
    apply(&mut index, &name, &resource);
    let late = object("a", "y");
    assert_eq!(
        apply(&mut index, &late, &in_sync(2)),
        Concerned::new(),
        "it waits for the list"
    );
    let listed = HashSet::from([read, secret("a", 1)]);
    assert_eq!(index.secrets_listed(None, &listed), Concerned::from([late]));
}

#[rstest]
#[case::with_something_to_do(Resource { is_in_sync: false, ..in_sync(1) })]
#[case::that_never_did_anything(Resource::new(1))]
#[case::that_cannot_be_decoded(Resource { is_decodable: false, ..in_sync(1) })]
fn nobody_else_waits(#[case] resource: Resource) {
    let name = object("a", "x");
    let mut index = awaiting(&[None]);
    index.await_secrets(None);
    let concerned = list(&mut index, None, &[(&name, &resource)]);
    assert_eq!(concerned, Concerned::from([name]));
}

#[rstest]
#[case::requested(|resource: &mut Resource| resource.request = Some(1))]
#[case::edited(|resource: &mut Resource| resource.generation = 2)]
#[case::of_another_uid(|resource: &mut Resource| resource.uid = 2)]
#[case::whose_status_was_written(|_: &mut Resource| ())]
fn who_is_not_in_sync_any_more_is_looked_at_at_once(#[case] change: fn(&mut Resource)) {
    let (mut index, name, mut resource) = held_back();
    change(&mut resource);
    resource.is_in_sync = false;
    let concerned = apply(&mut index, &name, &resource);
    assert_eq!(concerned, Concerned::from([name]));
}

#[test]
fn a_look_is_the_first_of_its_resource() {
    let (mut index, name, mut resource) = held_back();
    index.secret_seen(&secret("a", 0), version("1"));
    assert_eq!(index.take_first_look(&name), Some(&version("1")));
    resource.noise = 1;
    apply(&mut index, &name, &resource);
    assert_eq!(index.take_first_look(&name), None, "its status was written");
    resource.uid = 2;
    let concerned = apply(&mut index, &name, &resource);
    assert_eq!(concerned, Concerned::from([name.clone()]));
    assert_eq!(index.take_first_look(&name), Some(&version("1")));
    assert_eq!(index.take_first_look(&object("a", "unknown")), None);
}

#[test]
fn who_was_looked_at_is_not_held_back_again() {
    let (mut index, name, mut resource) = held_back();
    assert_eq!(index.take_first_look(&name), None);
    resource.generation = 2;
    let concerned = apply(&mut index, &name, &resource);
    assert_eq!(concerned, Concerned::from([name]));
}

/// Each waits for the list of its own namespace alone.
#[test]
fn one_list_of_secrets_does_not_hold_up_the_readers_of_another() {
    let (x, y) = both();
    let mut index = awaiting(&[Some("a"), Some("b")]);
    for namespace in NAMESPACES {
        index.await_secrets(Some(namespace));
    }
    let (of_x, of_y) = (
        in_sync(1),
        Resource {
            account: 1,
            last_reset: Some((1, 5)),
            ..in_sync(2)
        },
    );
    assert_eq!(
        list(&mut index, Some("a"), &[(&x, &of_x)]),
        Concerned::new()
    );
    assert_eq!(index.secrets_unlisted(Some("a")), Concerned::from([x]));
    assert_eq!(
        list(&mut index, Some("b"), &[(&y, &of_y)]),
        Concerned::new()
    );
    assert_eq!(
        index.secrets_listed(Some("b"), &HashSet::new()),
        Concerned::from([y])
    );
}

/// What is told while the first lists of Secrets come in.
#[derive(Debug, Clone)]
enum Early {
    Apply(ObjectName, Change, bool),
    Delete(ObjectName),
    SecretSeen(ObjectName, u8),
    SecretGone(ObjectName),
    Ends(&'static str, Option<Vec<ObjectName>>),
    Look(ObjectName),
}

fn any_early() -> impl Strategy<Value = Early> {
    let listed = proptest::option::of(proptest::collection::vec(any_secret(), 0..4));
    prop_oneof![
        6 => (any_name(), any_change(), proptest::bool::weighted(0.8))
            .prop_map(|(name, change, is_in_sync)| Early::Apply(name, change, is_in_sync)),
        1 => any_name().prop_map(Early::Delete),
        3 => (any_secret(), 0_u8..2).prop_map(|(secret, version)| Early::SecretSeen(secret, version)),
        1 => any_secret().prop_map(Early::SecretGone),
        1 => (select(&NAMESPACES), listed).prop_map(|(namespace, listed)| Early::Ends(namespace, listed)),
        2 => any_name().prop_map(Early::Look),
    ]
}

proptest! {
    /// Each resource is concerned before it is looked at, except that who is in sync waits, until the version of its Secret is
    /// known or the list of its namespace has ended. Nobody is held back for ever, and nobody for nothing.
    #[test]
    fn nobody_is_forgotten(events in proptest::collection::vec(any_early(), 1..40)) {
        let mut index = Index::default();
        for namespace in NAMESPACES {
            index.await_secrets(Some(namespace));
        }
        let mut model = Model::default();
        let mut awaited = BTreeSet::from(NAMESPACES);
        // Who was concerned since it is there, by name and uid, and who was looked at.
        let (mut concerned, mut looked_at) = (HashSet::new(), HashSet::new());
        let ends = NAMESPACES.map(|namespace| Early::Ends(namespace, None));
        for event in events.into_iter().chain(ends) {
            let told = match &event {
                Early::Apply(name, change, is_in_sync) => {
                    model.change(name, change);
                    let resource = Resource { is_in_sync: *is_in_sync, ..model.get(name).unwrap().clone() };
                    model.put(name, resource.clone());
                    apply(&mut index, name, &resource)
                }
                Early::Delete(name) => {
                    model.remove(name);
                    index.delete(name)
                }
                Early::SecretSeen(secret, version) => index.secret_seen(secret, self::version(&version.to_string())),
                Early::SecretGone(secret) => index.secret_gone(secret),
                Early::Ends(namespace, listed) => {
                    awaited.remove(namespace);
                    match listed {
                        Some(listed) => index.secrets_listed(Some(namespace), &listed.iter().cloned().collect()),
                        None => index.secrets_unlisted(Some(namespace)),
                    }
                }
                Early::Look(name) => {
                    let resource = model.get(name).map(|it| (name.clone(), it.uid));
                    let is_first = resource.is_some_and(|resource| looked_at.insert(resource));
                    let seen = model.get(name).filter(|it| it.is_decodable && is_first)
                        .and_then(|it| index.secrets.get(&secret(&name.namespace, it.secret)));
                    let known = match seen {
                        Some(SeenSecret::There(version)) => Some(version.clone()),
                        Some(SeenSecret::Gone) | None => None,
                    };
                    prop_assert_eq!(index.take_first_look(name).cloned(), known);
                    Concerned::new()
                }
            };
            for name in told {
                let uid = model.get(&name).map(|it| it.uid);
                concerned.insert((name, uid.unwrap()));
            }
            for (name, resource) in &model.resources {
                let key = (name.clone(), resource.uid);
                let may_wait = resource.is_in_sync
                    && resource.is_decodable
                    && awaited.contains(&*name.namespace)
                    && !index.secrets.contains_key(&secret(&name.namespace, resource.secret));
                let was_told = concerned.contains(&key) || looked_at.contains(&key);
                prop_assert!(was_told || may_wait, "{name:?} after {event:?}");
            }
        }
    }
}

/// It was looked at before the list of Secrets came to its own.
#[rstest]
#[case::the_same("1", false)]
#[case::changed_meanwhile("2", true)]
fn a_list_wakes_nobody_for_what_was_read(#[case] listed: &str, #[case] is_concerned: bool) {
    let (name, late) = (object("a", "x"), object("a", "y"));
    let mut index = awaiting(&[None]);
    index.await_secrets(None);
    list(
        &mut index,
        None,
        &[(&name, &Resource::new(1)), (&late, &Resource::new(2))],
    );
    index.secret_read(&name, "uid", "1");
    let concerned = index.secret_seen(&secret("a", 0), version(listed));
    assert!(concerned.contains(&late), "it has read nothing yet");
    assert_eq!(concerned.contains(&name), is_concerned);
    // Nothing of that is left after the list.
    index.secret_read(&late, "uid", "1");
    index.secrets_listed(None, &HashSet::from([secret("a", 0)]));
    assert!(index.read.is_empty());
    index.secret_read(&late, "uid", "3");
    assert!(index.read.is_empty());
}

#[test]
fn a_secret_that_is_gone_is_not_one_that_was_never_seen() {
    let (name, read) = (object("a", "x"), secret("a", 0));
    let mut index = Index::default();
    apply(&mut index, &name, &Resource::new(1));
    assert_eq!(index.secret_of(&name), None);
    index.secret_seen(&read, version("1"));
    assert_eq!(
        index.secret_of(&name),
        Some(&SeenSecret::There(version("1")))
    );
    assert_eq!(index.secret_gone(&read), Concerned::from([name.clone()]));
    assert_eq!(index.secret_of(&name), Some(&SeenSecret::Gone));
    assert_eq!(
        index.secret_seen(&read, version("1")),
        Concerned::from([name])
    );
}

#[test]
fn each_name_is_in_memory_once() {
    let (name, read) = (object("a", "x"), secret("a", 0));
    let mut resource = Resource::new(1);
    let mut index = Index::default();
    apply(&mut index, &name, &resource);
    index.secret_seen(&read, version("1"));
    resource.noise = 1;
    apply(&mut index, &name, &resource);
    let (of_readers, _) = index.by_secret.get_key_value(&read).unwrap();
    let (of_versions, _) = index.secrets.get_key_value(&read).unwrap();
    assert!(Arc::ptr_eq(of_readers, of_versions));
}
