//! A control group with one limit, for what a test runs in it.

use super::{Run, Sandbox};
use std::fs;

/// Mounts the tree of the controller `$1` at `$0`, in the first or the second version of control groups, and makes a group in it
/// whose limit is `$2` or `$3`, each as `FILE=VALUE`. Whoever has `inside` as `$4` is in it. Its name is told in `group`.
const LAUNCHER: &str = r#"
kind=$1 limit=$2 second=$3 where=$4; shift 4
if mount -t cgroup -o "$kind" none "$0" 2>/dev/null; then own=$(sed -n "s/^[0-9]*:$kind://p" /proc/self/cgroup)
else mount -t cgroup2 none "$0" || exit 9; limit=$second own=$(sed -n 's/^0:://p' /proc/self/cgroup); fi
group=$0$own/exeunt-e2e-$kind.$$
mkdir "$group" && echo "${limit#*=}" >"$group/${limit%%=*}" || exit 9
echo "$group/${limit%%=*}" >group
[ "$where" = inside ] && echo $$ >"$group/cgroup.procs"
"$@"; code=$?
echo $$ >"$0$own/cgroup.procs"
rmdir "$group"
exit $code
"#;

pub struct Controller<'a> {
    sandbox: &'a Sandbox,
    tree: String,
    kind: &'a str,
    limits: [&'a str; 2],
}

impl<'a> Controller<'a> {
    /// `limits` as each of the two versions has it.
    pub fn new(sandbox: &'a Sandbox, kind: &'a str, limits: [&'a str; 2]) -> Controller<'a> {
        let tree = sandbox.path("tree");
        fs::create_dir(&tree).expect("the directory can be made");
        Controller { sandbox, tree: tree.to_str().expect("UTF-8").to_owned(), kind, limits }
    }

    /// exeunt is its only child, and begins in the group or outside of it.
    pub fn launcher(&self, inside: bool) -> Vec<&str> {
        let place = if inside { "inside" } else { "outside" };
        ["unshare", "--mount", "sh", "-c", LAUNCHER, &self.tree, self.kind, self.limits[0], self.limits[1], place]
            .to_vec()
    }

    /// Moves a process into the group.
    pub fn enter(&self, run: &Run, pid: i32) {
        let limit = self.limit_file(run);
        fs::write(limit.with_file_name("cgroup.procs"), pid.to_string()).expect("the group can be entered");
    }

    pub fn set(&self, run: &Run, limit: &str) {
        fs::write(self.limit_file(run), limit).expect("the limit can be changed");
    }

    /// Another file of the group.
    pub fn read(&self, run: &Run, name: &str) -> String {
        fs::read_to_string(self.limit_file(run).with_file_name(name)).expect("the group has such a file")
    }

    fn limit_file(&self, run: &Run) -> std::path::PathBuf {
        let file = self.sandbox.wait_for_line("group", "/");
        format!("/proc/{}/root{file}", run.pid()).into()
    }
}
