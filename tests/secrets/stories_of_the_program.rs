//! The program as a user runs it, with every log asked for.

use std::process::Command;

use serde_json::json;

use crate::planted::Planted;
use crate::program::{APP, Running, Thing, http, kill, run, run_with_input, thingif};

const USER_PASSWORD: &str = "Zq-user-password-7d1c9b Kx";

/// All logs, whichever variable is asked.
fn tracing(mut command: Command, variable: &str) -> Command {
    command.env(variable, "trace").args(["-v", "-v", "-v"]);
    command
}

#[test]
fn nothing_that_the_program_says_has_a_secret() {
    let mut planted = Planted::default();
    let app_key = planted.make("app key", "0123456789abcdef");
    let password = planted.make("thing password", " \"\\/é+%&=");
    let wrong = planted.make("wrong password", " \"/");
    planted.plant("user password", USER_PASSWORD);
    let query_token = planted.make("token in a query", "-.");
    let header_token = planted.make("token in a header", "/+=");
    let thing = Thing::new();
    std::fs::write(thing.path("password"), &password).expect("written");
    std::fs::write(thing.path("wrong"), &wrong).expect("written");
    std::fs::write(thing.path("app-key"), &app_key).expect("written");
    let mut said = String::new();

    let mut command = tracing(thingif(), "RUST_LOG");
    command
        .args(["serve", "--app", APP, "--https", "off", "--mqtts", "off", "--wss", "off"])
        .env("THINGIF_APP_KEY", &app_key);
    let mut server =
        Running::start(command.args(["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0"]));
    let ready = server.json_line();
    said.push_str(&ready.to_string());
    let listener = |name: &str| ready[name].as_str().expect("listens").to_owned();
    let onboard = |scheme: &str, password: &str| {
        let mut command = tracing(thing.command("onboard"), "THINGIF_LOG");
        command.args([
            "--broker",
            &format!("{scheme}://{}", listener(scheme)),
            "--app",
            APP,
            "--thing",
            "thermostat-17",
        ]);
        command.arg("--app-key-file").arg(thing.path("app-key")).arg("--password-file").arg(thing.path(password));
        command
    };
    let mut tell = |finished: crate::program::Finished| {
        said.push_str(&String::from_utf8_lossy(&finished.stdout));
        said.push_str(&finished.stderr);
    };
    // Over TCP, and over WebSocket; printed, and as JSON.
    tell(run(&mut onboard("mqtt", "password")).expect(0));
    tell(run(onboard("ws", "password").arg("--json")).expect(0));
    let stored = std::fs::read_to_string(thing.credentials()).expect("there");
    let stored: serde_json::Value = serde_json::from_str(&stored).expect("JSON");
    let find = |name: &str| {
        fn find<'v>(value: &'v serde_json::Value, name: &str) -> Option<&'v str> {
            let members = value.as_object()?;
            members
                .get(name)
                .and_then(|found| found.as_str())
                .or_else(|| members.values().find_map(|one| find(one, name)))
        }
        find(&stored, name).unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    planted.plant("access token", &find("accessToken"));
    planted.plant("MQTT password", &find("password"));
    // Wrong in every place.
    tell(run(&mut onboard("mqtt", "wrong")).expect(67));
    tell(run(onboard("mqtt", "password")
        .env("THINGIF_APP_KEY", &wrong)
        .args(["--app-key-file"])
        .arg(thing.path("wrong"))));
    let proxy_password = planted.make("proxy password", "-.");
    for (url, code) in [("http://ann:SECRET@127.0.0.1:1", 7), ("http://ann:SECRET%@h", 2), ("ftp://ann:SECRET@h", 2)] {
        tell(run(onboard("mqtt", "password").args(["--proxy", &url.replace("SECRET", &proxy_password)])).expect(code));
    }
    // Calls, seen with -v: tokens in a header, in a query, in a body, and in a path that cannot be one.
    let states = "targets/thing:{thing}/states";
    let call = |args: &[&str]| {
        let mut command = tracing(thing.command("call"), "RUST_LOG");
        command.args(args);
        command
    };
    // An answer's body is what was asked for.
    let without_the_body =
        |finished: crate::program::Finished| crate::program::Finished { stdout: Vec::new(), ..finished };
    let body = json!({"password": password, "power": true}).to_string();
    tell(run(&mut call(&["PUT", states, "-d", &body])).expect(0));
    let bearer = format!("Authorization: Bearer {header_token}");
    tell(without_the_body(run(&mut call(&[
        "GET",
        &format!("{states}?access_token={query_token}"),
        "-H",
        &bearer,
        "-i",
    ]))));
    tell(without_the_body(run(&mut call(&["GET", states, "-v"])).expect(0)));
    tell(run(&mut call(&["GET", &format!("x?access_token={query_token} and more")])).expect(2));
    tell(run(&mut call(&["GET", states, "-H", &format!("Authorization{header_token}")])).expect(2));
    // The codec shows frames without their secrets, whole and broken.
    for frame in [
        format!("PUT\r\n{bearer}\r\nCookie: a={header_token}\r\n\r\n{body}"),
        format!("PUT\r\n{bearer}\r\nbroken\r\n\r\n{body}"),
    ] {
        for flags in [
            &["decode"][..],
            &["decode", "--json"],
            &["decode", "--topic", &format!("p/me/x?access_token={query_token}")],
        ] {
            tell(run_with_input(thingif().args(flags), frame.as_bytes()));
        }
    }
    // Commands reach a listener, and the one who posts them is an owner with a password.
    let mut listening = Running::start(&mut tracing(thing.command("listen"), "THINGIF_LOG"));
    listening.wait_for_error_line("ready");
    let owner_says = |method: &str, path: &str, auth: &str, content: &str, body: &serde_json::Value| {
        http(&listener("http"), method, path, auth, content, body)
    };
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{APP}:{app_key}"));
    let basic = format!("Basic {basic}");
    let login = json!({"loginName": "ann", "username": "ann", "password": USER_PASSWORD});
    let (status, answer) = owner_says("POST", &format!("/api/apps/{APP}/users"), &basic, "application/json", &login);
    assert_eq!(status, 201, "{answer}");
    let tokens = format!("/api/apps/{APP}/oauth2/token");
    let (status, answer) = owner_says("POST", &tokens, &basic, "application/json", &login);
    assert_eq!(status, 200, "{answer}");
    let user_token = answer["access_token"].as_str().expect("a token");
    planted.plant("user token", user_token);
    let bearer = format!("Bearer {user_token}");
    let owned = json!({"vendorThingID": "thermostat-17", "thingPassword": password, "owner": format!("user:{}", answer["id"].as_str().expect("an id"))});
    let by_owner = "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json";
    let onboardings = format!("/thing-if/apps/{APP}/onboardings");
    let (status, owned) = owner_says("POST", &onboardings, &bearer, by_owner, &owned);
    assert_eq!(status, 200, "{owned}");
    // Through the listener's connection.
    tell(without_the_body(run(&mut call(&["GET", &format!("{states}?access_token={query_token}")])).expect(0)));
    // Ended by a signal; the server, too.
    listening.signal("-TERM");
    listening.wait();
    said.push_str(&listening.lines_so_far().join("\n"));
    said.push_str(&listening.errors());
    let id = server.id();
    kill(id, "-TERM");
    server.wait();
    said.push_str(&server.lines_so_far().join("\n"));
    said.push_str(&server.errors());
    assert!(said.contains("TRACE"), "every log was asked for");
    assert!(said.contains("access_token=xx"), "the calls were shown");
    planted.assert_absent("what the program says", &said);
}
