//! The manual: what there is to know beyond single items, chapter by chapter.
//!
//! | chapter | for whoever |
//! |---|---|
//! | [the wire](crate::wire) | wants to know what is sent, byte by byte, and who says so |
//! | [the device](device) | writes a device, or runs one |
//! | [the server](server) | runs the service |
//! | [bridging] | has another HTTP service, or programs that speak plain HTTP |
//! | [capturing] | wants to see what passes, and to see it again |
//! | [conformance] | has a client or a service of their own |
//! | [the shell](shell) | uses the program: settings, completions, exit statuses |

#[doc = include_str!("bridging.md")]
pub mod bridging {}
#[doc = include_str!("capturing.md")]
pub mod capturing {}
#[doc = include_str!("conformance.md")]
pub mod conformance {}
#[doc = include_str!("device.md")]
pub mod device {}
#[doc = include_str!("server.md")]
pub mod server {}
#[doc = include_str!("shell.md")]
pub mod shell {}
