//! The format of the files: a directive with its arguments, optional input, `----`, and what is expected up to the next
//! blank line.

/// One directive.
#[derive(Debug)]
pub struct Directive {
    pub line: usize,
    /// The file from the end of the directive before to the `----` of this one.
    pub source: String,
    pub command: String,
    pub arguments: Vec<Argument>,
    pub input: String,
    pub expected: String,
}

/// `key`, `key=value` or `key=(value, value)`.
#[derive(Debug)]
pub struct Argument {
    pub key: String,
    pub values: Vec<String>,
}

impl Directive {
    /// The arguments without a value, as numbers.
    pub fn numbers(&self) -> Vec<u64> {
        let bare = self.arguments.iter().filter(|argument| argument.values.is_empty());
        bare.map(|argument| argument.key.parse().unwrap_or_else(|_| panic!("{self:?}: {argument:?}"))).collect()
    }

    /// The values of an argument; none if it is absent.
    pub fn values(&self, key: &str) -> &[String] {
        self.arguments.iter().find(|argument| argument.key == key).map_or(&[], |argument| &argument.values)
    }

    /// The only value of an argument.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values(key).first().map(String::as_str)
    }
}

pub fn parse(text: &str) -> Vec<Directive> {
    let mut directives = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut source = String::new();
    while let Some((number, first)) = lines.next() {
        source += &format!("{first}\n");
        let mut line = first.trim().to_owned();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let (_, next) = lines.next().expect("a continued line");
            source += &format!("{next}\n");
            line = format!("{} {}", line.trim_end(), next.trim());
        }
        let (command, arguments) = line.split_once(' ').unwrap_or((&line, ""));
        let input: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "----").collect();
        source.extend(input.iter().map(|line| format!("{line}\n")));
        source += "----\n";
        let expected = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim().is_empty());
        directives.push(Directive {
            line: number + 1,
            source: std::mem::take(&mut source),
            command: command.to_owned(),
            arguments: parse_arguments(arguments),
            input: input.join("\n").trim().to_owned(),
            expected: expected.map(|line| format!("{line}\n")).collect(),
        });
    }
    directives
}

fn parse_arguments(text: &str) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find([' ', '=']).unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        rest = &rest[end..];
        let mut values = Vec::new();
        if let Some(list) = rest.strip_prefix("=(") {
            let (inside, behind) = list.split_once(')').expect("a closing parenthesis");
            values = inside.split(',').map(|value| value.trim().to_owned()).collect();
            rest = behind;
        } else if let Some(value) = rest.strip_prefix('=') {
            let end = value.find(' ').unwrap_or(value.len());
            values = vec![value[..end].to_owned()];
            rest = &value[end..];
        }
        arguments.push(Argument { key, values });
        rest = rest.trim_start();
    }
    arguments
}
