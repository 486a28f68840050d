//! `/etc/passwd` and `/etc/group`, read by ourselves: the C library's ways to ask (getpwnam(3) and its kin) load modules,
//! which a static program cannot, and may block.

use super::Files;
use std::cell::OnceCell;
use std::path::Path;

/// A line of `/etc/passwd` (passwd(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// A line of `/etc/group` (group(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
}

/// Both files, each read when it is first needed. Many images have neither, which is no fault as long as all is numbers.
pub struct Accounts<'a> {
    files: Files<'a>,
    users: OnceCell<Result<Vec<User>, String>>,
    groups: OnceCell<Result<Vec<Group>, String>>,
}

impl<'a> Accounts<'a> {
    pub fn new(files: Files<'a>) -> Accounts<'a> {
        Accounts { files, users: OnceCell::new(), groups: OnceCell::new() }
    }

    /// All users, or why the file cannot be read.
    pub fn users(&self) -> Result<&[User], &str> {
        let read = || (self.files.text)(Path::new("/etc/passwd")).map(|text| users(&text));
        self.users.get_or_init(read).as_deref().map_err(String::as_str)
    }

    pub fn groups(&self) -> Result<&[Group], &str> {
        let read = || (self.files.text)(Path::new("/etc/group")).map(|text| groups(&text));
        self.groups.get_or_init(read).as_deref().map_err(String::as_str)
    }

    /// The group's name; its number where it has none.
    pub fn group_name(&self, gid: u32) -> String {
        let known = self.groups().unwrap_or_default().iter().find(|group| group.gid == gid);
        known.map_or_else(|| gid.to_string(), |group| group.name.clone())
    }
}

/// A number that stands where a name could: digits and nothing else. 4294967295 is -1, which setresuid(2) takes for "as it is".
pub fn number(text: &str) -> Option<Result<u32, ()>> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok().filter(|&id| id != u32::MAX).ok_or(()))
}

fn users(text: &str) -> Vec<User> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let _password = fields.next()?;
        Some(User { name, uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    lines(text).filter_map(user).collect()
}

fn groups(text: &str) -> Vec<Group> {
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        Some(Group { name, gid, members: members.map(str::to_owned).collect() })
    };
    lines(text).filter_map(group).collect()
}

/// The lines that declare somebody: no comments, and none of those that tell the C library to ask elsewhere (`+`, `-`).
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '+', '-', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines_of_passwd_are_passed_over() {
        let text = "# people\n\nroot:x:0:0:root:/root:/bin/sh\n  # more\n+@friends::::::\n-nobody\n+\n:x:5:5::/:\n\
             short\nshort:x\nshort:x:1\nword:x:one:1::/:\nminus:x:-1:5::/:\nlarge:x:4294967296:5::/:\nbare:x:7:8\n\
             www-data:*:33:33::/var/www:/usr/sbin/nologin\r\nwww-data:x:99:99::/:\n";
        let user = |name: &str, uid, gid| User { name: name.to_owned(), uid, gid };
        let expected = [user("root", 0, 0), user("bare", 7, 8), user("www-data", 33, 33), user("www-data", 99, 99)];
        assert_eq!(users(text), expected);
        assert_eq!(users(""), []);
    }

    #[test]
    fn odd_lines_of_group_are_passed_over() {
        let text = "root:x:0:\n#x:x:1:\n+:::\nvideo:x:44:anna,, bob ,\nno-members:x:45\nshort:x\nword:x:x:anna\n";
        let group = |name: &str, gid, members: &[&str]| {
            let members = members.iter().map(|&name| name.to_owned()).collect();
            Group { name: name.to_owned(), gid, members }
        };
        let expected = [group("root", 0, &[]), group("video", 44, &["anna", "bob"]), group("no-members", 45, &[])];
        assert_eq!(groups(text), expected);
    }

    #[test]
    fn digits_are_a_number_and_minus_one_is_nobody() {
        assert_eq!(number("0"), Some(Ok(0)));
        assert_eq!(number("4294967294"), Some(Ok(4_294_967_294)));
        for none in ["4294967295", "4294967296", "99999999999999999999"] {
            assert_eq!(number(none), Some(Err(())), "{none}");
        }
        for name in ["", "-1", "+1", "1a", "www-data", "٣"] {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
