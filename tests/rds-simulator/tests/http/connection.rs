//! Connections, byte by byte.

use rds_simulator::{Fault, RdsSimulator};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::client::{PASSWORD, join, reset, simulator};

/// A signed reset whose body is sent in two chunks.
fn chunked(rds: &RdsSimulator) -> String {
    let request = reset(PASSWORD);
    let (query, form) = (join(&request.query), join(&request.form));
    let signature = join(&vec![("Signature".to_owned(), request.sign())]);
    let (first, second) = form.split_at(form.len() / 2);
    format!(
        "POST /?{query}&{signature} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        rds.address(),
        first.len(),
        second.len(),
    )
}

#[tokio::test]
async fn a_chunked_body_and_a_second_request_on_the_connection() {
    let rds = simulator().await;
    let mut connection = TcpStream::connect(rds.address()).await.unwrap();
    for _ in 0..2 {
        connection
            .write_all(chunked(&rds).as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut buffer = [0; 1024];
            let read = connection.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(rds.password_history("rm-1", "app"), [PASSWORD, PASSWORD]);
}

#[tokio::test]
async fn a_cut_connection_ends_without_a_byte() {
    let rds = simulator().await;
    rds.add_fault(Fault::close_connection());
    let mut connection = TcpStream::connect(rds.address()).await.unwrap();
    connection
        .write_all(chunked(&rds).as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
}
