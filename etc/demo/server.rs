//! A web server for the demonstration: sends the files below one directory, each with an ETag, and says 304 to a client that
//! has the file already. One request at a time; rustc alone builds it.
//! Usage: server DIR. Prints its port, then a line for each request on standard error; ends when its standard input ends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

fn answer(dir: &Path, mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut known = String::new();
    for line in lines {
        let line = line?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("if-none-match") => known = value.trim().to_owned(),
            Some(_) => {}
            None => break,
        }
    }
    let path = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
    let Some(body) = path.filter(|path| !path.contains("..")).and_then(|path| std::fs::read(dir.join(path)).ok())
    else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let (status, body) = if known == tag { ("304 Not Modified", &b""[..]) } else { ("200 OK", &body[..]) };
    eprintln!("{request}: {status}");
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(body)
}

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).expect("usage: server DIR");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new()); // an error is an end too
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|stream| answer(Path::new(&dir), stream)) {
            eprintln!("server: {error}");
        }
    }
    Ok(())
}
