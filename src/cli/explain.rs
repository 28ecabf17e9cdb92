//! `holdfast explain`: the pages of the error codes, which every binary carries: a site whose line is cut has no other
//! way to them. `holdfast completions`.
use std::process::ExitCode;

use clap::CommandFactory;

use super::args::Arguments;
use super::exit::Failure;
use super::output;
use crate::problem::{Code, DOCS};

pub(super) fn explain(asked: Option<&str>) -> Result<ExitCode, Failure> {
    let Some(asked) = asked else {
        let line = |code: &Code| format!("{:<22}{}  {}\n", code.name(), code.status().as_u16(), code.title());
        output::result(&Code::ALL.iter().map(line).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    };
    let name = asked.strip_prefix(DOCS).unwrap_or(asked).trim_matches('/').to_ascii_lowercase();
    match Code::ALL.iter().find(|code| code.name() == name) {
        Some(code) => output::result(code.page()).map(|()| ExitCode::SUCCESS),
        None => Err(Failure::usage(format!("no error has the code {asked:?}; `holdfast explain` lists all of them"))),
    }
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "holdfast", &mut script);
    output::result(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_by_its_name_or_address() {
        for code in Code::ALL {
            let (name, page) = (code.name(), code.page());
            assert!(page.starts_with(&format!("# `{name}`")) && page.contains(code.title()), "{page}");
            for asked in [name.to_owned(), format!("{DOCS}{name}"), name.to_uppercase()] {
                explain(Some(&asked)).unwrap();
            }
        }
        let unknown = explain(Some("no-such-code")).unwrap_err();
        assert!(unknown.to_string().contains("lists all"), "{unknown}");
        explain(None).unwrap();
    }
}
