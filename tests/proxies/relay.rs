//! A proxy on this machine, by HTTP's CONNECT or by SOCKS5, that asks for a user name and a password.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longer than any request for a connection.
const LONGEST_HEAD: usize = 8 * 1024;

/// Where a name with its port leads. All other names are refused, so that nothing leaves this machine.
pub(crate) type Routes = BTreeMap<String, SocketAddr>;

/// What was asked of the proxy: the name with its port, and whether user name and password were right.
pub(crate) type Asked = (String, bool);

/// A running proxy. It ends when it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Connect,
    Socks5,
}

#[derive(Clone)]
struct Settings {
    protocol: Protocol,
    user: &'static str,
    password: &'static str,
    routes: Routes,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Relay {
    pub(crate) async fn start(
        protocol: Protocol,
        (user, password): (&'static str, &'static str),
        routes: Routes,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::default();
        let settings = Settings {
            protocol,
            user,
            password,
            routes,
            asked: Arc::clone(&asked),
        };
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let settings = settings.clone();
                // A client that ends early is none of the test's concern.
                tokio::spawn(async move { settings.serve(client).await.ok() });
            }
        });
        Ok(Self {
            address,
            asked,
            task,
        })
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    /// Those names that were asked for with the right user name and password.
    pub(crate) fn served(&self) -> Vec<String> {
        let asked = self.asked().into_iter();
        asked
            .filter_map(|(name, is_right)| is_right.then_some(name))
            .collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Settings {
    async fn serve(&self, mut client: TcpStream) -> Result<()> {
        let target = match self.protocol {
            Protocol::Connect => self.connect(&mut client).await?,
            Protocol::Socks5 => self.socks5(&mut client).await?,
        };
        let mut server = TcpStream::connect(target).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    /// Notes what was asked, and says where it leads.
    fn route(&self, name: &str, is_right: bool) -> Option<SocketAddr> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push((name.to_owned(), is_right));
        self.routes.get(name).copied()
    }

    async fn connect(&self, client: &mut TcpStream) -> Result<SocketAddr> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
            ensure!(head.len() < LONGEST_HEAD, "a long head");
        }
        let head = String::from_utf8(head)?;
        let name = head
            .strip_prefix("CONNECT ")
            .and_then(|rest| rest.split(' ').next())
            .context("not CONNECT")?;
        let expected = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        let is_right = head.lines().any(|line| {
            line.split_once(": ").is_some_and(|(header, value)| {
                header.eq_ignore_ascii_case("proxy-authorization")
                    && value == format!("Basic {expected}")
            })
        });
        let target = self.route(name, is_right);
        let (answer, target) = match target {
            _ if !is_right => (
                "407 Proxy Authentication Required\r\nproxy-authenticate: Basic",
                None,
            ),
            None => ("502 Bad Gateway\r\ncontent-length: 0", None),
            found => ("200 Connection established", found),
        };
        client
            .write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes())
            .await?;
        target.context("refused")
    }

    /// RFC 1928, with user name and password by RFC 1929.
    async fn socks5(&self, client: &mut TcpStream) -> Result<SocketAddr> {
        ensure!(client.read_u8().await? == 5, "another version");
        let methods = text(client).await?;
        if !methods.contains('\u{2}') {
            client.write_all(&[5, 0xff]).await?;
            bail!("no method with a password");
        }
        client.write_all(&[5, 2]).await?;
        ensure!(client.read_u8().await? == 1, "another version");
        let user = text(client).await?;
        let password = text(client).await?;
        let is_right = user == self.user && password == self.password;
        client.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            self.route("", false);
            bail!("refused");
        }
        let mut request = [0; 4];
        client.read_exact(&mut request).await?;
        let host = match request {
            [5, 1, 0, 1] => {
                let mut address = [0; 4];
                client.read_exact(&mut address).await?;
                std::net::Ipv4Addr::from(address).to_string()
            }
            [5, 1, 0, 3] => text(client).await?,
            _ => bail!("another request"),
        };
        let port = client.read_u16().await?;
        let target = self.route(&format!("{host}:{port}"), true);
        let code = u8::from(target.is_none());
        client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        target.context("refused")
    }
}

/// A byte with a length, and so many bytes.
async fn text(client: &mut TcpStream) -> Result<String> {
    let length = client.read_u8().await?;
    let mut bytes = vec![0; usize::from(length)];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes)?)
}
