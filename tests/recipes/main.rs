//! What the documentation tells people to paste works as it is: the API server takes it, Argo CD's health check says what the
//! conditions say, generated passwords are ones that RDS takes, and the `CronJob` rotates.

mod cron_job;
mod examples;
mod health;
mod password;

const OPERATOR: &str = env!("CARGO_BIN_EXE_rds-password-operator");
