//! What the users' objects are, and what a change makes of them. Pure.

use std::collections::BTreeMap;

/// Both keys that a Secret can have.
pub const KEYS: [&str; 2] = ["password", "other"];

/// The instances, between which resources move.
pub const INSTANCES: [&str; 2] = ["rm-left", "rm-right"];

/// Part of every value, and of nothing else: whatever tells a value, or a good piece of one, is found by it.
pub const CANARY: &str = "Kanarienvogel";

/// Something that a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Writes a new value.
    Rotate,
    /// Writes the value before.
    TurnBack,
    /// Writes a new value under the key that is not used.
    RotateOtherKey,
    /// Labels the Secret.
    LabelSecret,
    /// Labels the resource.
    LabelResource,
    /// Deletes the Secret.
    DeleteSecret,
    /// Deletes the Secret and creates it with the same values.
    CreateSecretAgain,
    /// Deletes the Secret and creates it with a new value.
    CreateSecretWithNewValue,
    /// Writes a value that RDS' rules forbid.
    Invalidate,
    /// Removes the key that is used.
    RemoveKey,
    /// Names the other account in the spec.
    MoveAccount,
    /// Names the other instance in the spec.
    MoveInstance,
    /// Names the other key in the spec.
    SwitchKey,
    /// Turns `spec.suspend` on or off.
    ToggleSuspend,
    /// Asks for a reset.
    Request,
    /// Deletes the resource.
    DeleteResource,
    /// Deletes the resource, if it is there, and creates it.
    CreateResourceAgain,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Rotate,
        Self::TurnBack,
        Self::RotateOtherKey,
        Self::LabelSecret,
        Self::LabelResource,
        Self::DeleteSecret,
        Self::CreateSecretAgain,
        Self::CreateSecretWithNewValue,
        Self::Invalidate,
        Self::RemoveKey,
        Self::MoveAccount,
        Self::MoveInstance,
        Self::SwitchKey,
        Self::ToggleSuspend,
        Self::Request,
        Self::DeleteResource,
        Self::CreateResourceAgain,
    ];
}

/// A value in a Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub text: String,
    /// Whether RDS' rules allow it, by how it was made.
    pub valid: bool,
}

/// The resource of a slot.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Which object of this name it is, counted from 1.
    pub incarnation: u32,
    /// `spec.instanceId`
    pub instance: &'static str,
    /// `spec.accountName`
    pub account: String,
    /// `spec.passwordSecretRef.key`
    pub key: &'static str,
    /// `spec.suspend`
    pub suspend: bool,
    /// The annotation that asks for a reset.
    pub request: Option<String>,
}

/// The objects of a slot.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Objects {
    /// The Secret's data.
    pub secret: Option<BTreeMap<&'static str, Value>>,
    /// The resource.
    pub resource: Option<Resource>,
}

/// What the objects of a slot ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Demand<'a> {
    /// No resource.
    Nothing,
    /// There is no value to send, for this reason of `Ready`.
    Hold(&'a Resource, &'static str),
    /// There is a value, and it must not be sent.
    Suspended(&'a Resource, &'a str),
    /// The account is to have this value.
    Apply(&'a Resource, &'a str),
}

impl Objects {
    /// What they ask for.
    #[must_use]
    pub fn demand(&self) -> Demand<'_> {
        let Some(resource) = &self.resource else {
            return Demand::Nothing;
        };
        let Some(secret) = &self.secret else {
            return Demand::Hold(resource, "SecretNotFound");
        };
        match secret.get(resource.key) {
            None => Demand::Hold(resource, "KeyNotFound"),
            Some(value) if !value.valid => Demand::Hold(resource, "PasswordInvalid"),
            Some(value) if resource.suspend => Demand::Suspended(resource, &value.text),
            Some(value) => Demand::Apply(resource, &value.text),
        }
    }
}

/// One request to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates the Secret, or gives it the values that it should have.
    PutSecret,
    /// Labels the Secret.
    LabelSecret,
    /// Deletes the Secret.
    DeleteSecret,
    /// Creates the resource.
    CreateResource,
    /// Gives spec and annotation what they should have.
    PatchResource,
    /// Labels the resource.
    LabelResource,
    /// Deletes the resource.
    DeleteResource,
}

/// One Secret and one resource that reads it, and what they were before.
#[derive(Clone)]
pub struct Slot {
    number: usize,
    /// The objects as they are.
    pub objects: Objects,
    /// The values that each key was given, without those that are not valid.
    past: BTreeMap<&'static str, Vec<String>>,
    values: u32,
    incarnations: u32,
    requests: u32,
}

impl Slot {
    /// A slot without objects.
    #[must_use]
    pub fn new(number: usize) -> Self {
        Self {
            number,
            objects: Objects::default(),
            past: BTreeMap::new(),
            values: 0,
            incarnations: 0,
            requests: 0,
        }
    }

    /// The name of both objects.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// Both accounts that the resource can name, in each instance.
    #[must_use]
    pub fn accounts(number: usize) -> [String; 2] {
        [format!("app{number}"), format!("spare{number}")]
    }

    /// Whether a change has an object to change.
    #[must_use]
    pub fn allows(&self, change: Change) -> bool {
        let Objects { secret, resource } = &self.objects;
        match change {
            Change::Rotate | Change::CreateSecretWithNewValue | Change::CreateResourceAgain => true,
            Change::TurnBack => self.past.get(self.key()).is_some_and(|past| past.len() > 1),
            Change::RotateOtherKey
            | Change::LabelSecret
            | Change::DeleteSecret
            | Change::CreateSecretAgain
            | Change::Invalidate => secret.is_some(),
            Change::RemoveKey => secret
                .as_ref()
                .is_some_and(|secret| secret.contains_key(self.key())),
            Change::LabelResource
            | Change::MoveAccount
            | Change::MoveInstance
            | Change::SwitchKey
            | Change::ToggleSuspend
            | Change::Request
            | Change::DeleteResource => resource.is_some(),
        }
    }

    /// Changes the objects, and tells step by step what has to be written, and what the objects are after each step.
    #[must_use]
    pub fn change(&mut self, change: Change) -> Vec<(Write, Objects)> {
        let mut steps = Vec::new();
        let key = self.key();
        match change {
            Change::Rotate => {
                let value = self.new_value(key);
                self.put(key, value);
                steps.push(Write::PutSecret);
            }
            Change::TurnBack => {
                let past = self.past.entry(key).or_default();
                let text = past.iter().rev().nth(1).cloned().unwrap_or_default();
                past.push(text.clone());
                self.put(key, Value { text, valid: true });
                steps.push(Write::PutSecret);
            }
            Change::RotateOtherKey => {
                let other = other(&KEYS, key);
                let value = self.new_value(other);
                self.put(other, value);
                steps.push(Write::PutSecret);
            }
            Change::LabelSecret => steps.push(Write::LabelSecret),
            Change::LabelResource => steps.push(Write::LabelResource),
            Change::DeleteSecret => {
                self.objects.secret = None;
                steps.push(Write::DeleteSecret);
            }
            Change::CreateSecretAgain | Change::CreateSecretWithNewValue => {
                let mut told = Vec::new();
                let mut data = self.objects.secret.take();
                if data.is_some() {
                    told.push((Write::DeleteSecret, self.objects.clone()));
                }
                if change == Change::CreateSecretWithNewValue {
                    let value = self.new_value(key);
                    data.get_or_insert_default().insert(key, value);
                }
                self.objects.secret = data;
                told.push((Write::PutSecret, self.objects.clone()));
                return told;
            }
            Change::Invalidate => {
                self.values += 1;
                let text = [
                    format!("{CANARY} {}", self.values),
                    CANARY.to_lowercase(),
                    format!("{CANARY}#{:032}", self.values),
                    String::new(),
                ][self.values as usize % 4]
                    .clone();
                self.put(key, Value { text, valid: false });
                steps.push(Write::PutSecret);
            }
            Change::RemoveKey => {
                if let Some(secret) = &mut self.objects.secret {
                    secret.remove(key);
                }
                steps.push(Write::PutSecret);
            }
            Change::DeleteResource => {
                self.objects.resource = None;
                steps.push(Write::DeleteResource);
            }
            Change::CreateResourceAgain => return self.create_resource_again(key),
            Change::MoveAccount
            | Change::MoveInstance
            | Change::SwitchKey
            | Change::ToggleSuspend
            | Change::Request => {
                self.patch_resource(change);
                steps.push(Write::PatchResource);
            }
        }
        steps
            .into_iter()
            .map(|write| (write, self.objects.clone()))
            .collect()
    }

    fn create_resource_again(&mut self, key: &'static str) -> Vec<(Write, Objects)> {
        let mut steps = Vec::new();
        let old = self.objects.resource.take();
        if old.is_some() {
            steps.push((Write::DeleteResource, self.objects.clone()));
        }
        self.incarnations += 1;
        let (instance, account) = old.map_or_else(
            || {
                let [account, _] = Self::accounts(self.number);
                (INSTANCES[self.number % INSTANCES.len()], account)
            },
            |old| (old.instance, old.account),
        );
        self.objects.resource = Some(Resource {
            incarnation: self.incarnations,
            instance,
            account,
            key,
            suspend: false,
            request: None,
        });
        steps.push((Write::CreateResource, self.objects.clone()));
        steps
    }

    fn patch_resource(&mut self, change: Change) {
        let Some(resource) = &mut self.objects.resource else {
            return;
        };
        match change {
            Change::MoveAccount => {
                let accounts = Self::accounts(self.number);
                let other = usize::from(resource.account == accounts[0]);
                resource.account.clone_from(&accounts[other]);
            }
            Change::MoveInstance => resource.instance = other(&INSTANCES, resource.instance),
            Change::SwitchKey => resource.key = other(&KEYS, resource.key),
            Change::ToggleSuspend => resource.suspend = !resource.suspend,
            _ => {
                self.requests += 1;
                resource.request = Some(format!("request-{}", self.requests));
            }
        }
    }

    fn key(&self) -> &'static str {
        self.objects
            .resource
            .as_ref()
            .map_or(KEYS[0], |resource| resource.key)
    }

    fn put(&mut self, key: &'static str, value: Value) {
        self.objects
            .secret
            .get_or_insert_default()
            .insert(key, value);
    }

    fn new_value(&mut self, key: &'static str) -> Value {
        self.values += 1;
        // Characters that every encoding on the way has to get right.
        let special = ["%&", "+=", "^*", "()", "@!", "$_"][self.values as usize % 6];
        let text = format!("{CANARY}{special}{}-{}", self.number, self.values);
        self.past.entry(key).or_default().push(text.clone());
        Value { text, valid: true }
    }
}

/// The name of a slot's objects.
#[must_use]
pub fn name(slot: usize) -> String {
    format!("orders-{slot}")
}

/// The slot that an account belongs to.
#[must_use]
pub fn slot_of(account: &str) -> Option<usize> {
    account
        .trim_start_matches(|letter: char| letter.is_alphabetic())
        .parse()
        .ok()
}

fn other<'a>(both: &[&'a str; 2], one: &str) -> &'a str {
    both[usize::from(one == both[0])]
}
