//! The program `thingif`: one file per verb, and the few things that verbs share.

mod connection_lock;
mod exit;
mod http1;
mod listen_address;
mod local_ca;
mod logging;
mod output;
mod private_file;
mod secret_input;
mod server_tls;
