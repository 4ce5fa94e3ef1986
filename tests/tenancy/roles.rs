//! Who gets which right by what is installed, and by the sample.

use std::fs;

use anyhow::{Context as _, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use rds_password_operator::api::{API_GROUP, DatabaseAccountPassword};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::Testbed;
use testbed::bed::{INSTANCE, NAMESPACE};
use testbed::install;

use crate::person::{
    Person, Right, SECRET, bind, create_token, ensure_refused, get_secret, is_allowed, lacks,
    reset, role, wait_until_allowed, with_credentials,
};
use crate::{OPERATOR, SAMPLE};

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_gives_a_team_its_instances_and_no_others() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    install::apply_file(&bed.client, &install::repository_file(SAMPLE)).await?;
    // What `edit` is in a cluster whose controllers aggregate it.
    let developers = json!({
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "shop-developers",
    });
    for role in [
        "system:aggregate-to-edit",
        "rds-password-operator-edit",
        "rds-password-operator-view",
    ] {
        let name = format!("developers-{}", role.replace(':', "-"));
        bind(
            &bed.client,
            NAMESPACE,
            &name,
            ("ClusterRole", role),
            &developers,
        )
        .await?;
    }
    let instances = ["rm-uf6wjk5xxxxxxx", "rm-uf6abc1xxxxxxx"];
    let rights = [
        create_token("orders-rds"),
        get_secret(SECRET),
        Right {
            verb: "create",
            group: API_GROUP,
            resource: "databaseaccountpasswords",
            name: "",
        },
    ];
    let of = |instance: &str| -> Result<DatabaseAccountPassword> {
        let name = format!("{SECRET}-{instance}");
        let mut resource = with_credentials(
            bed.resource(&name, SECRET),
            json!({ "serviceAccountName": "orders-rds" }),
        )?;
        instance.clone_into(&mut resource.spec.instance_id);
        Ok(resource)
    };
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };

    let pipeline = format!("system:serviceaccount:{NAMESPACE}:pipeline");
    let token = install::issue_token(&bed.client, (NAMESPACE, "pipeline")).await?;
    let developer = ["shop-developers"];
    for (user, client, granted) in [
        (
            "jane",
            bed.control_plane.client_as("jane", &developer).await?,
            &instances[..],
        ),
        (
            &*pipeline,
            bed.control_plane.client_with_token(&token).await?,
            &instances[..1],
        ),
    ] {
        for right in rights
            .into_iter()
            .chain(granted.iter().map(|&name| reset(name)))
        {
            wait_until_allowed(&client, NAMESPACE, right).await?;
        }
        let resources = Api::<DatabaseAccountPassword>::namespaced(client, NAMESPACE);
        for instance in [
            "rm-uf6wjk5xxxxxxx",
            "rm-uf6abc1xxxxxxx",
            "rm-of-another-team",
        ] {
            let answer = resources.create(&dry_run, &of(instance)?).await;
            if granted.contains(&instance) {
                answer.with_context(|| format!("{instance} for {user}"))?;
            } else {
                ensure_refused(answer, &lacks(user, reset(instance)), (user, instance))?;
            }
        }
    }
    Ok(())
}

/// A namespace's administrator may write Roles there, but none with more than they have themselves.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_a_namespace_cannot_grant_instances() -> Result<()> {
    let bed = Testbed::start(OPERATOR).await?;
    let administrator = Person::new(&bed, "administrator").await?;
    administrator
        .bind("ClusterRole", "system:aggregate-to-admin", NAMESPACE)
        .await?;
    let create_role = Right {
        verb: "create",
        group: "rbac.authorization.k8s.io",
        resource: "roles",
        name: "",
    };
    wait_until_allowed(&administrator.client, NAMESPACE, create_role).await?;
    assert!(!is_allowed(&administrator.client, NAMESPACE, reset(INSTANCE)).await?);

    let roles = Api::<Role>::namespaced(administrator.client.clone(), NAMESPACE);
    let granted = roles
        .create(&PostParams::default(), &role("mine", reset(INSTANCE))?)
        .await;
    ensure_refused(granted, "not currently held", "a Role")?;
    let read = Right {
        verb: "get",
        group: API_GROUP,
        resource: "databaseaccountpasswords",
        name: "orders-app",
    };
    roles
        .create(&PostParams::default(), &role("readers", read)?)
        .await?;
    Ok(())
}

fn documents(path: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(install::repository_file(path))?;
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Ok(serde::Deserialize::deserialize(document)?))
        .collect()
}

fn of_kind<T: DeserializeOwned>(path: &str, kind: &str) -> Result<Vec<T>> {
    documents(path)?
        .into_iter()
        .filter(|document| document["kind"] == kind)
        .map(|document| Ok(serde_json::from_value(document)?))
        .collect()
}

/// The labels are all that a cluster's controllers look at.
#[test]
fn built_in_roles_take_in_what_users_may_do() -> Result<()> {
    let roles: Vec<ClusterRole> = of_kind(install::USER_ROLES_FILE, "ClusterRole")?;
    let verbs_of = |built_in: &str, resource: &str| -> Vec<String> {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{built_in}");
        let taken_in = roles.iter().filter(|role| {
            role.labels()
                .get(&label)
                .is_some_and(|value| value == "true")
        });
        let mut verbs: Vec<_> = taken_in
            .flat_map(|role| role.rules.iter().flatten())
            .filter(|rule| rule.resources.iter().flatten().any(|it| it == resource))
            .flat_map(|rule| rule.verbs.clone())
            .collect();
        verbs.sort();
        verbs
    };
    let read = ["get", "list", "watch"];
    let manage = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    assert_eq!(verbs_of("view", "databaseaccountpasswords"), read);
    for built_in in ["edit", "admin"] {
        assert_eq!(verbs_of(built_in, "databaseaccountpasswords"), manage);
    }
    for built_in in ["view", "edit", "admin"] {
        assert_eq!(
            verbs_of(built_in, "databaseaccountpasswords/status"),
            ["get"]
        );
    }
    Ok(())
}

/// What is installed for everybody gives nobody an instance, not even by a wildcard.
#[test]
fn nothing_grants_reset_by_itself() -> Result<()> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for path in [
        install::RBAC_FILE,
        install::USER_ROLES_FILE,
        install::ADMISSION_FILE,
    ] {
        for role in of_kind::<ClusterRole>(path, "ClusterRole")? {
            rules.extend(role.rules.unwrap_or_default());
        }
        for role in of_kind::<Role>(path, "Role")? {
            rules.extend(role.rules.unwrap_or_default());
        }
    }
    assert!(!rules.is_empty());
    for rule in &rules {
        let words = rule.verbs.iter().chain(rule.resources.iter().flatten());
        for word in words {
            assert!(
                ![
                    "*",
                    "reset",
                    "rdsinstances",
                    "escalate",
                    "bind",
                    "impersonate"
                ]
                .contains(&word.as_str()),
                "{rule:?}"
            );
        }
    }
    Ok(())
}
