//! Any bytes as an env-file: variables within their limits, or errors that can be shown and show no value.

use super::config::show;
use exeunt::config::{Context, Files, compile};
use std::env::VarError;
use std::path::Path;

const FILE: &str = "[worker.w]\ncommand = ['w']\nenv-file = 'w.env'\n";
/// What execve(2) takes of one string.
const LONGEST: usize = 128 * 1024;

/// A byte 0xfe stands for a thousand letters, so that small inputs make large files.
pub fn target(data: &[u8]) {
    let inflate = |&byte: &u8| if byte == 0xfe { vec![b'x'; 1000] } else { vec![byte] };
    let bytes: Vec<u8> = data.iter().flat_map(inflate).collect();
    let environment = |name: &str| match name {
        "SET" => Ok("set".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let no_text = |_: &Path| Err("there is no such file".to_owned());
    let files = Files { text: &no_text, env_file: &|_, _| Ok(bytes.clone()) };
    let context = Context { directory: Path::new("/"), stem: "w", environment: &environment, files };
    match compile(FILE.as_bytes(), &context) {
        Ok(compiled) => {
            show(&compiled.warnings, Some(FILE));
            for (name, value) in &compiled.plan.workers[0].program.env {
                assert!(!name.is_empty() && !name.contains(['\0', '=']) && !value.contains('\0'), "{name:?}={value:?}");
                assert!(name.len() + value.len() + 2 <= LONGEST);
            }
        }
        Err(problems) => show(&problems, Some(FILE)),
    }
}
