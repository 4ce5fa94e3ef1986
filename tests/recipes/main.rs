//! What the documentation tells people to paste works as it is: the API server takes it, Argo CD's health check says what the
//! conditions say, generated passwords are ones that RDS takes, the `CronJob` rotates, and kustomize refers to the Secret that
//! it generates.

mod cron_job;
mod examples;
mod health;
mod kustomize;
mod password;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
