//! Whom an event concerns: which resources read a Secret, which resources name an account, and who of these owns it. Pure.
//!
//! The index is the only place that compares an old state with a new one, so it is also what decides that a resource is
//! unchanged: the operator's own status writes come back as events, and wake nobody.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::watched::Watched;
use super::written::digest;
use crate::api::{DatabaseAccountPassword, Target, request_of};

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectName {
    /// The name in this metadata. Both kinds that are watched live in namespaces.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Whether it is in this namespace; `None` stands for all.
    #[must_use]
    pub fn is_in(&self, namespace: Option<&str>) -> bool {
        namespace.is_none_or(|namespace| self.namespace == namespace)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Which object it is, and in which version. Nothing is changed as long as both are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The uid: another object of the same name has another.
    pub uid: String,
    /// The resourceVersion.
    pub resource_version: String,
}

/// What the watch has told of a Secret last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenSecret {
    /// It is there.
    There(ObjectVersion),
    /// It was deleted, or the list did not bring it.
    Gone,
}

/// What of a resource a pass depends on. Where this is equal, nothing has to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    uid: String,
    /// Changes with the spec, and when deletion begins.
    generation: Option<i64>,
    request: Option<String>,
    /// Whether the last reset has to be sent again, because another one may have come after it.
    must_resend: bool,
    /// A digest of the status; nothing of one that cannot be decoded.
    status: Option<u64>,
    /// Whether another process or a person has written that status.
    is_of_another: bool,
    secret: Option<Arc<ObjectName>>,
    claim: Option<Claim>,
    first_look: FirstLook,
}

/// When a resource is looked at for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstLook {
    /// At once.
    AtOnce,
    /// When the version of its Secret is known, since its status is all else that there is to know of it.
    WithVersion,
    /// It was. Kept as long as its uid.
    Done,
}

/// A resource's claim to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// The account, [without case](Target::without_case).
    target: Arc<Target>,
    created: Option<Timestamp>,
    /// When it last reset this very account.
    last_reset: Option<Timestamp>,
}

impl Facts {
    /// The facts of a watched resource. `is_own` tells whether this process has written the status of that digest, and
    /// `is_in_sync` whether a resource is [in sync](super::in_sync) with some version of its Secret.
    #[must_use]
    pub fn of(
        watched: &Watched,
        is_own: impl Fn(u64) -> bool,
        is_in_sync: impl Fn(&DatabaseAccountPassword) -> bool,
    ) -> Self {
        let metadata = kube::Resource::meta(watched);
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        let is_being_deleted = metadata.deletion_timestamp.is_some();
        let resource = watched.resource();
        let (target, last_reset, must_resend, secret) = match (&resource, watched) {
            (Some(resource), _) => {
                let last_reset = resource.last_reset_of_target();
                let target = resource.spec.target();
                let kept_since = last_reset_of(resource, &target);
                (
                    Some(target),
                    kept_since,
                    last_reset.is_some_and(|reset| reset.fingerprint.is_none()),
                    Some(Arc::new(ObjectName {
                        namespace: metadata.namespace.clone().unwrap_or_default(),
                        name: resource.spec.password_secret_ref.name.clone(),
                    })),
                )
            }
            (None, Watched::Undecodable(resource)) => {
                (resource.target.clone(), resource.last_reset, false, None)
            }
            (None, Watched::Decoded(_)) => (None, None, false, None),
        };
        let status = resource.as_deref().map(digest);
        let is_in_sync = resource.as_deref().is_some_and(is_in_sync);
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation,
            status,
            is_of_another: status.is_some_and(|status| !is_own(status)),
            request: request_of(metadata).map(str::to_owned),
            must_resend,
            secret,
            // Whoever is on the way out must not keep the account from the next one.
            claim: target.filter(|_| !is_being_deleted).map(|target| Claim {
                target: Arc::new(target.without_case()),
                created,
                last_reset,
            }),
            first_look: if is_in_sync {
                FirstLook::WithVersion
            } else {
                FirstLook::AtOnce
            },
        }
    }

    /// Whether a list that is not complete yet could bring the owner of the account. Who has reset it, and was not told since
    /// that another one came after it, need not wait: one namespace that cannot be listed must not stop the others.
    fn relies_on_other_lists(&self) -> bool {
        self.claim
            .as_ref()
            .is_some_and(|claim| claim.last_reset.is_none())
            || self.must_resend
    }

    /// Whether a pass has to look again. A new time of the last reset alone is the operator's own writing.
    fn differs_for_a_pass(&self, other: &Self) -> bool {
        let target = |facts: &Self| facts.claim.as_ref().map(|claim| claim.target.clone());
        self.uid != other.uid
            || self.generation != other.generation
            || self.request != other.request
            || (self.must_resend && !other.must_resend)
            // A process that led before has written what it found before it knew that, or a person what is not so.
            || (self.is_of_another && self.status != other.status)
            || self.secret != other.secret
            || target(self) != target(other)
    }
}

/// Names in their order. Nearly always one, for which a tree would take half a KiB.
type Names = Vec<Arc<ObjectName>>;

/// The index over all watched namespaces. Each name is in memory once, however often it is mentioned.
#[derive(Debug, Default)]
pub struct Index {
    resources: HashMap<Arc<ObjectName>, Facts>,
    by_secret: HashMap<Arc<ObjectName>, Names>,
    by_target: HashMap<Arc<Target>, Names>,
    /// The Secrets that are read by someone, as last seen.
    secrets: HashMap<Arc<ObjectName>, SeenSecret>,
    /// By resource, the version of the Secret that it has read while the first list of them was awaited: that list need not
    /// wake it for what it has seen already.
    read: HashMap<Arc<ObjectName>, ObjectVersion>,
    /// The watches of resources (by namespace; `None`: over all) whose first list is not complete yet.
    awaited: HashSet<Option<String>>,
    /// The watches of Secrets whose first list is not complete yet, and has not failed.
    awaited_secrets: HashSet<Option<String>>,
}

/// The resources that have to be looked at.
pub type Concerned = BTreeSet<ObjectName>;

impl Index {
    /// A watch over a namespace (over all, for `None`) is about to begin. Until its first list is complete, an owner may not
    /// be known yet.
    pub fn await_list(&mut self, namespace: Option<&str>) {
        self.awaited.insert(namespace.map(str::to_owned));
    }

    /// A watch of the Secrets of a namespace (of all, for `None`) is about to begin. Until its first list brings the version of
    /// a Secret, or ends, those who may have nothing to do but to compare that version are held back: events do not wake them
    /// until then, and then they are woken.
    pub fn await_secrets(&mut self, namespace: Option<&str>) {
        self.awaited_secrets.insert(namespace.map(str::to_owned));
    }

    /// A resource is there, or has changed.
    pub fn apply(&mut self, name: &ObjectName, mut facts: Facts) -> Concerned {
        let old = self.resources.get(name).cloned();
        if let Some(old) = &old
            && old.uid == facts.uid
            && old.first_look == FirstLook::Done
        {
            facts.first_look = FirstLook::Done;
        }
        let targets = targets([old.as_ref(), Some(&facts)]);
        let owners_before = self.owners(&targets);
        let is_changed = old
            .as_ref()
            .is_none_or(|old| facts.differs_for_a_pass(old) || self.is_held_back(name, old));
        if let Some(old) = &old {
            // Else the name of the Secret would be in memory twice from here on, since whoever knows its version keeps the old one.
            if facts.secret == old.secret {
                facts.secret.clone_from(&old.secret);
            }
            self.unlink(name, old);
        }
        self.link(name, facts);
        self.forget_unread(old.as_ref());
        let mut concerned = self.concerned_by_owners(&targets, owners_before);
        if is_changed {
            concerned.insert(name.clone());
        }
        self.without_held_back(concerned)
    }

    /// A resource is gone.
    pub fn delete(&mut self, name: &ObjectName) -> Concerned {
        let Some(old) = self.resources.get(name).cloned() else {
            return Concerned::new();
        };
        let targets = targets([Some(&old), None]);
        let owners_before = self.owners(&targets);
        self.unlink(name, &old);
        self.resources.remove(name);
        self.read.remove(name);
        self.forget_unread(Some(&old));
        self.without_held_back(self.concerned_by_owners(&targets, owners_before))
    }

    /// A namespace's list is complete (all namespaces', for `None`): whoever is not in it is gone.
    pub fn replace(
        &mut self,
        namespace: Option<&str>,
        listed: impl IntoIterator<Item = (ObjectName, Facts)>,
    ) -> Concerned {
        let mut gone: HashSet<Arc<ObjectName>> = self
            .resources
            .keys()
            .filter(|name| name.is_in(namespace))
            .cloned()
            .collect();
        let mut concerned = Concerned::new();
        for (name, facts) in listed {
            gone.remove(&name);
            concerned.extend(self.apply(&name, facts));
        }
        for name in gone {
            concerned.extend(self.delete(&name));
        }
        if self.awaited.remove(&namespace.map(str::to_owned)) && self.awaited.is_empty() {
            let facts = self.resources.iter();
            let relying = facts.filter(|(_, facts)| facts.relies_on_other_lists());
            concerned.extend(relying.map(|(name, _)| ObjectName::clone(name)));
        }
        concerned.retain(|name| self.resources.contains_key(name));
        self.without_held_back(concerned)
    }

    /// A Secret is there in this version. Nobody is concerned by a version that was seen before.
    pub fn secret_seen(&mut self, secret: &ObjectName, version: ObjectVersion) -> Concerned {
        let Some((secret, readers)) = self.by_secret.get_key_value(secret) else {
            return Concerned::new();
        };
        let known = self.secrets.get(secret);
        if matches!(known, Some(SeenSecret::There(known)) if *known == version) {
            return Concerned::new();
        }
        let mut concerned = concerned(readers);
        concerned.retain(|reader| self.read.get(reader) != Some(&version));
        let seen = SeenSecret::There(version);
        self.secrets.insert(secret.clone(), seen);
        concerned
    }

    /// A Secret is gone.
    pub fn secret_gone(&mut self, secret: &ObjectName) -> Concerned {
        let Some((secret, readers)) = self.by_secret.get_key_value(secret) else {
            return Concerned::new();
        };
        self.secrets.insert(secret.clone(), SeenSecret::Gone);
        concerned(readers)
    }

    /// A resource has read its Secret in this version.
    pub fn secret_read(&mut self, name: &ObjectName, uid: &str, resource_version: &str) {
        if self.awaits_secrets(name)
            && let Some((name, _)) = self.resources.get_key_value(name)
        {
            let version = ObjectVersion {
                uid: uid.to_owned(),
                resource_version: resource_version.to_owned(),
            };
            self.read.insert(name.clone(), version);
        }
    }

    /// Whether anybody reads this Secret.
    #[must_use]
    pub fn is_read(&self, secret: &ObjectName) -> bool {
        self.by_secret.contains_key(secret)
    }

    /// The resources of a namespace (of all, for `None`) that name a Secret.
    pub fn readers(&self, namespace: Option<&str>) -> impl Iterator<Item = &ObjectName> {
        let readers = self.resources.iter();
        readers
            .filter(move |(name, facts)| facts.secret.is_some() && name.is_in(namespace))
            .map(|(name, _)| &**name)
    }

    /// A list of Secrets is complete: the readers of those that it did not bring are concerned.
    pub fn secrets_listed(
        &mut self,
        namespace: Option<&str>,
        listed: &HashSet<ObjectName>,
    ) -> Concerned {
        let mut concerned = self.secrets_unlisted(namespace);
        let missing: Vec<Arc<ObjectName>> = self
            .by_secret
            .keys()
            .filter(|secret| secret.is_in(namespace))
            .filter(|secret| !listed.contains(&***secret))
            .cloned()
            .collect();
        concerned.extend(missing.iter().flat_map(|secret| self.secret_gone(secret)));
        concerned
    }

    /// A list of Secrets has failed, or brings nothing: nobody is held back for it any longer.
    pub fn secrets_unlisted(&mut self, namespace: Option<&str>) -> Concerned {
        if self.awaited_secrets.is_empty() {
            return Concerned::new();
        }
        let held_back = |index: &Self| index.held_back().cloned().collect::<Concerned>();
        let before = held_back(self);
        self.awaited_secrets.remove(&namespace.map(str::to_owned));
        if self.awaited_secrets.is_empty() {
            self.read = HashMap::new();
        }
        &before - &held_back(self)
    }

    /// How many resources of a namespace (of all, for `None`) are held back for the first list of its Secrets.
    #[must_use]
    pub fn count_held_back(&self, namespace: Option<&str>) -> usize {
        self.held_back()
            .filter(|name| name.is_in(namespace))
            .count()
    }

    fn held_back(&self) -> impl Iterator<Item = &ObjectName> {
        let resources = self.resources.iter();
        resources
            .filter(|(name, facts)| self.is_held_back(name, facts))
            .map(|(name, _)| &**name)
    }

    /// A pass looks at a resource. If it is the first that does, the version of its Secret, if that is known.
    pub fn take_first_look(&mut self, name: &ObjectName) -> Option<&ObjectVersion> {
        let facts = self.resources.get_mut(name)?;
        if std::mem::replace(&mut facts.first_look, FirstLook::Done) == FirstLook::Done {
            return None;
        }
        match self.secrets.get(facts.secret.as_ref()?)? {
            SeenSecret::There(version) => Some(version),
            SeenSecret::Gone => None,
        }
    }

    /// The Secret that a resource names, as last seen, if it was.
    #[must_use]
    pub fn secret_of(&self, name: &ObjectName) -> Option<&SeenSecret> {
        self.secrets.get(self.resources.get(name)?.secret.as_ref()?)
    }

    /// Whether all that a pass could find out is whether the Secret is unchanged, and that will be known soon.
    fn is_held_back(&self, name: &ObjectName, facts: &Facts) -> bool {
        let is_known = |secret| self.secrets.contains_key(secret);
        self.awaits_secrets(name)
            && facts.first_look == FirstLook::WithVersion
            && !facts.secret.as_ref().is_some_and(is_known)
    }

    /// Whether the first list of the Secrets of this name's namespace is awaited.
    fn awaits_secrets(&self, name: &ObjectName) -> bool {
        let mut awaited = self.awaited_secrets.iter();
        awaited.any(|namespace| name.is_in(namespace.as_deref()))
    }

    fn without_held_back(&self, mut concerned: Concerned) -> Concerned {
        concerned.retain(|name| {
            let facts = self.resources.get(name);
            !facts.is_some_and(|facts| self.is_held_back(name, facts))
        });
        concerned
    }

    /// Whether `name` may reset the account `target`, which it names; `None` as long as that is not known: the index is behind
    /// what the resource says, or a list that could bring an older owner is not complete. In each of these cases the resource
    /// will be concerned once it is known.
    ///
    /// The owner is who reset this account last; where nobody did, the oldest by creation time and uid. So neither a new
    /// resource nor an edit of an old one takes over an account that another keeps.
    #[must_use]
    pub fn owns(&self, name: &ObjectName, target: &Target) -> Option<bool> {
        let facts = self.resources.get(name)?;
        let claim = facts.claim.as_ref()?;
        let target = &target.without_case();
        if *claim.target != *target || (!self.awaited.is_empty() && facts.relies_on_other_lists()) {
            return None;
        }
        Some(self.owner(target) == Some(name))
    }

    fn owner(&self, target: &Target) -> Option<&ObjectName> {
        let names = self.by_target.get(target)?;
        let owner = names.iter().min_by_key(|name| {
            let facts = &self.resources[&***name];
            let claim = facts.claim.as_ref();
            let last_reset = claim.and_then(|claim| claim.last_reset);
            (
                last_reset.is_none(),
                // Who was told that another reset may have come later stands behind that one, even where both were made in
                // the same second, or by processes whose clocks differ.
                facts.must_resend,
                std::cmp::Reverse(last_reset),
                claim.and_then(|claim| claim.created),
                &facts.uid,
            )
        });
        owner.map(|owner| &**owner)
    }

    fn owners(&self, targets: &BTreeSet<Arc<Target>>) -> Vec<Option<String>> {
        targets
            .iter()
            .map(|target| {
                self.owner(target)
                    .map(|owner| self.resources[owner].uid.clone())
            })
            .collect()
    }

    /// Everyone who names an account that has another owner now.
    fn concerned_by_owners(
        &self,
        targets: &BTreeSet<Arc<Target>>,
        before: Vec<Option<String>>,
    ) -> Concerned {
        let after = self.owners(targets);
        targets
            .iter()
            .zip(before.into_iter().zip(after))
            .filter(|(_, (before, after))| before != after)
            .flat_map(|(target, _)| self.by_target.get(target).into_iter().flatten())
            .map(|name| ObjectName::clone(name))
            .collect()
    }

    fn link(&mut self, name: &ObjectName, mut facts: Facts) {
        let known = self.resources.get_key_value(name);
        let name = known.map_or_else(|| Arc::new(name.clone()), |(name, _)| name.clone());
        if let Some(secret) = &mut facts.secret {
            add_to(&mut self.by_secret, secret, &name);
        }
        if let Some(claim) = &mut facts.claim {
            add_to(&mut self.by_target, &mut claim.target, &name);
        }
        self.resources.insert(name, facts);
    }

    fn unlink(&mut self, name: &ObjectName, facts: &Facts) {
        if let Some(secret) = &facts.secret {
            remove_from(&mut self.by_secret, secret, name);
        }
        if let Some(claim) = &facts.claim {
            remove_from(&mut self.by_target, &claim.target, name);
        }
    }

    /// Forgets the version of the Secret that was read before, unless someone still reads it.
    fn forget_unread(&mut self, old: Option<&Facts>) {
        if let Some(secret) = old.and_then(|old| old.secret.as_ref())
            && !self.by_secret.contains_key(secret)
        {
            self.secrets.remove(secret);
        }
    }
}

/// When the resource last reset this account, in whatever case its name was written then: one that is only spelled otherwise
/// now is still kept.
fn last_reset_of(resource: &DatabaseAccountPassword, target: &Target) -> Option<Timestamp> {
    let reset = resource.status.as_ref()?.last_reset.as_ref()?;
    target
        .is_named_by(&reset.instance_id, &reset.account_name)
        .then_some(reset.time.0)
}

fn targets(facts: [Option<&Facts>; 2]) -> BTreeSet<Arc<Target>> {
    facts
        .into_iter()
        .flatten()
        .filter_map(|facts| facts.claim.as_ref().map(|claim| claim.target.clone()))
        .collect()
}

fn concerned(names: &Names) -> Concerned {
    names.iter().map(|name| ObjectName::clone(name)).collect()
}

/// Adds `name` to those of `key`, which becomes the one that is known already, if it is.
fn add_to<K: Hash + Eq>(
    names_of: &mut HashMap<Arc<K>, Names>,
    key: &mut Arc<K>,
    name: &Arc<ObjectName>,
) {
    if let Some((known, _)) = names_of.get_key_value(key) {
        *key = known.clone();
    }
    let names = names_of.entry(key.clone()).or_default();
    if let Err(place) = names.binary_search(name) {
        names.insert(place, name.clone());
        // A vector would make room for four.
        names.shrink_to_fit();
    }
}

/// Removes `name` from those of `key`, and the key where nobody is left.
fn remove_from<K: Hash + Eq>(names_of: &mut HashMap<Arc<K>, Names>, key: &K, name: &ObjectName) {
    if let Some(names) = names_of.get_mut(key) {
        names.retain(|known| **known != *name);
        if names.is_empty() {
            names_of.remove(key);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]
mod tests;
