//! `thingif record`: a capture of what passes between a device and its broker.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Args;
use tokio::signal::ctrl_c;

use crate::capture::pcap::{Found, Import, Ports};
use crate::capture::{Header, Writer};
use crate::cli::exit::{Exit, Failure};
use crate::cli::listen_address::ListenAddress;
use crate::cli::{output, progress, server_tls, service};
use crate::edge::Recording;
use crate::mqtt::Endpoint;
use crate::replay::recorder;

/// Record what passes between devices and a broker, as a capture.
///
/// With --listen and --broker this is a broker to devices and a device to the broker: whatever passes is written. The answer to
/// an onboarding is changed on its way, so that the device comes back here with its new login; nothing else is.
///
/// With --from-pcap the packets that tcpdump or Wireshark have written are read instead.
///
/// A capture is JSON, one object a line: `thingif decode FILE` shows it, `thingif replay FILE` runs it again. Tokens and passwords
/// are masked in it, in their length and shape. Each line is written at once, so that a killed recording is whole up to its last
/// line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif record session.jsonl --listen 127.0.0.1:2883 --broker mqtt://127.0.0.1:1883
  thingif record session.jsonl --listen 0.0.0.0:8883 --tls-cert cert.pem --tls-key key.pem --broker mqtts://iot.example.org
  tcpdump -i lo -w lo.pcap tcp port 1883
  thingif record session.jsonl --from-pcap lo.pcap --port 1883 --ws-port 12470")]
pub(crate) struct Record {
    /// The capture to write, with mode 0600; an older one is replaced, a symbolic link is not followed. Standard output if it
    /// is -.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Wait for devices here.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "from_pcap")]
    listen: Option<ListenAddress>,
    /// The broker: mqtt:// or mqtts://, HOST, and :PORT where it is not 1883 or 8883.
    #[arg(long, value_name = "URL", required_unless_present = "from_pcap", conflicts_with = "from_pcap")]
    broker: Option<Endpoint>,
    /// Speak TLS with devices: the certificate and its chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "from_pcap")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "from_pcap")]
    tls_key: Option<PathBuf>,
    /// Trust the authorities in this PEM file at the broker, instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with = "from_pcap")]
    ca: Option<PathBuf>,
    /// Read the packets of this .pcap or .pcapng file; standard input if it is -.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    from_pcap: Option<PathBuf>,
    /// A TCP port of brokers in the packets; may be given more than once. Default: 1883.
    #[arg(long, value_name = "PORT", requires = "from_pcap")]
    port: Vec<u16>,
    /// A TCP port of brokers that speak WebSocket; may be given more than once.
    #[arg(long, value_name = "PORT", requires = "from_pcap")]
    ws_port: Vec<u16>,
    #[command(flatten)]
    options: CaptureOptions,
}

/// How a capture is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct CaptureOptions {
    /// Write tokens and passwords of payloads as they are. Passwords of CONNECT are not even then written.
    #[arg(long)]
    secrets: bool,
    /// Stop the recording, and say so, before the capture is larger than this.
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_size: u32,
    /// Where the bytes come from, for readers: live, edge, third-party client, …
    #[arg(long, value_name = "WORDS", default_value = "")]
    source: String,
    /// A remark for readers.
    #[arg(long, value_name = "WORDS", default_value = "")]
    note: String,
}

/// A file that only its owner reads, or standard output.
pub(crate) type Sink = Box<dyn Write + Send>;

impl CaptureOptions {
    /// The masked capture that other verbs write with `--record`.
    pub(crate) fn of_a_verb() -> Self {
        Self { secrets: false, max_size: 100, source: String::new(), note: String::new() }
    }

    /// Opens the capture. Lines go to the file one by one, unbuffered.
    pub(crate) fn create(&self, path: &Path) -> Result<Writer<Sink>, Failure> {
        let failed = |error: io::Error| Failure::other(format_args!("cannot write {}: {error}", path.display()));
        let sink: Sink = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(create_private(path).map_err(failed)?)
        };
        let header = Header { note: self.note.clone(), ..Header::new(self.source.as_str()) };
        let writer = if self.secrets { Writer::danger_with_secrets(sink, &header) } else { Writer::new(sink, &header) };
        Ok(writer.map_err(failed)?.with_max_len(u64::from(self.max_size) * 1_000_000))
    }
}

/// The masked capture that a service writes of what passes between it and things.
pub(crate) fn of_an_edge(path: &Path) -> Result<Recording, Failure> {
    if path == Path::new("-") {
        return Err(Failure::usage("--record needs a file: standard output is for what this verb says"));
    }
    let options = CaptureOptions { source: "edge".into(), ..CaptureOptions::of_a_verb() };
    options.create(path).map(Recording::new)
}

/// A new file that only its owner reads, in the place of an older one, whose mode and readers are its own. A pipe or a device
/// is written to as it is.
fn create_private(path: &Path) -> io::Result<File> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let is_stream = |found: &std::fs::Metadata| !found.is_file() && !found.is_dir() && !found.is_symlink();
        if is_stream(&found) || std::fs::metadata(path).is_ok_and(|target| is_stream(&target)) {
            return OpenOptions::new().write(true).open(path);
        }
        if found.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link, and none is followed"));
        }
        if found.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|found| (found.dev(), found.ino()))
    };
    id(one).is_some_and(|one| id(other) == Some(one))
}

impl Record {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        match (&self.from_pcap, self.listen, &self.broker) {
            (Some(packets), ..) => self.import(packets),
            (None, Some(listen), Some(broker)) => self.record(listen, broker).await,
            _ => Err(Failure::usage("give --listen with --broker, or --from-pcap")),
        }
    }

    fn import(&self, packets: &Path) -> Result<(), Failure> {
        let name = packets.display();
        if is_same_file(packets, &self.file) {
            return Err(Failure::usage(format_args!("{name} is to be read, and would be replaced")));
        }
        let progress = progress::bytes(packets);
        let source: Box<dyn io::Read + Send> = if packets == Path::new("-") {
            Box::new(io::stdin())
        } else {
            let file =
                File::open(packets).map_err(|error| Failure::other(format_args!("cannot read {name}: {error}")))?;
            Box::new(progress.wrap_read(io::BufReader::new(file)))
        };
        let mqtt = if self.port.is_empty() && self.ws_port.is_empty() { vec![1883] } else { self.port.clone() };
        let ports = Ports { mqtt, websocket: self.ws_port.clone() };
        let failed = |error: &dyn std::fmt::Display| Failure::other(format_args!("{name}: {error}"));
        let mut import = Import::new(source, ports.clone()).map_err(|error| failed(&error))?;
        let mut writer = self.options.create(&self.file)?;
        let (mut entries, mut broken) = (0u64, None);
        for found in &mut import {
            match found {
                Ok(Found::Entry(entry)) => {
                    writer.write(&entry).map_err(|error| {
                        Failure::other(format_args!("the capture cannot be written to its end: {error}"))
                            .advise("--max-size allows more.")
                    })?;
                    entries += 1;
                }
                Ok(Found::Remark(remark)) => progress.suspend(|| eprintln!("thingif: {remark}")),
                Err(error) => broken = Some(failed(&error)),
            }
        }
        progress.finish_and_clear();
        let counts = import.counts();
        for (count, what) in [
            (counts.fragments, "IP fragments were left out: they are not put together"),
            (counts.unknown_links, "packets were left out: their link type is not known"),
        ] {
            if count > 0 {
                eprintln!("thingif: {count} {what}");
            }
        }
        eprintln!("thingif: {entries} entries of {} connections, from {} packets", counts.connections, counts.packets);
        match broken {
            Some(failure) => Err(failure),
            None if entries == 0 => Err(Failure::other(format_args!(
                "{name} has no MQTT on the ports {:?}",
                [&ports.mqtt[..], &ports.websocket[..]].concat()
            ))
            .advise(
                "Name the broker's port with --port, and --ws-port where it speaks WebSocket. TLS cannot be read.",
            )),
            None => Ok(()),
        }
    }

    async fn record(&self, listen: ListenAddress, broker: &Endpoint) -> Result<(), Failure> {
        if broker.scheme.is_websocket() {
            return Err(Failure::usage(format_args!("{broker} cannot be recorded: only mqtt:// and mqtts:// can"))
                .advise("A WebSocket can be recorded by tcpdump, and read with --from-pcap and --ws-port."));
        }
        let listener =
            listen.bind("--listen").await?.ok_or_else(|| Failure::usage("--listen needs an address and a port"))?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::other(format_args!("the listener has no address: {error}")))?;
        let mut options = recorder::Options::new(broker.clone());
        if let (Some(certificates), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options.device_tls = Some(server_tls::ServerTls::from_files(certificates, key)?.configs().things);
        }
        options.broker_tls = Some(service::tls_config(self.ca.as_deref())?);
        let writer = Arc::new(Mutex::new(self.options.create(&self.file)?));
        let scheme = if options.device_tls.is_some() { "mqtts" } else { "mqtt" };
        if self.file == Path::new("-") {
            eprintln!("thingif: recording {scheme}://{address}");
        } else {
            output::json_line(&serde_json::json!({ "ready": true, scheme: address.to_string() }))?;
        }
        let said = |what: String| eprintln!("thingif: {what}");
        tokio::select! {
            ended = recorder::run(listener, options, writer, said) => match ended {
                Ok(()) => Err(Failure::new(Exit::Other, "the recording has reached its bound").advise("--max-size allows more.")),
                Err(error) => Err(Failure::other(format_args!("the recording ended: {error}"))),
            },
            stopped = ctrl_c() => stopped.map_err(|error| Failure::other(format_args!("cannot wait for signals: {error}"))),
        }
    }
}
