//! Random expressions and their meaning, which is generated beside the text, not parsed from it.

/// A generator of numbers, the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % n
    }

    pub fn among<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.below(i64::try_from(list.len()).unwrap())).unwrap()]
    }
}

/// An item of a field.
pub enum Item {
    /// One of these.
    Values(Vec<i64>),
    /// This many days before the last.
    FromEnd(i64),
    /// The working day nearest to this day.
    Working(i64),
    LastWorking,
    /// The k-th of a weekday.
    Kth(i64, i64),
    /// The last of a weekday.
    Last(i64),
}

/// A field: its text and its meaning.
pub struct Field {
    pub text: String,
    pub items: Vec<Item>,
}

impl Field {
    pub fn begins_with_star(&self) -> bool {
        self.text.starts_with('*')
    }

    pub fn has_value(&self, value: i64) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Values(values) if values.contains(&value)))
    }
}

pub struct Expression {
    pub minute: Field,
    pub hour: Field,
    pub date: Field,
    pub month: Field,
    pub weekday: Field,
}

impl Expression {
    /// `sober`: only syntax that cronsim knows.
    pub fn any(dice: &mut Dice, sober: bool) -> Self {
        let mut minute = field(dice, 0, 59, sober, &[]);
        while !sober && minute.items.iter().any(|item| matches!(item, Item::Values(v) if v.len() > 12)) {
            minute = field(dice, 0, 59, sober, &[]); // to have less to compare
        }
        Self {
            minute,
            hour: field(dice, 0, 23, sober, &[]),
            date: field(dice, 1, 31, sober, DATES),
            month: if dice.below(3) > 0 { values("*", 1..=12) } else { field(dice, 1, 12, sober, &[]) },
            weekday: field(dice, 0, 6, sober, WEEKDAYS),
        }
    }

    pub fn text(&self) -> String {
        let Self { minute, hour, date, month, weekday } = self;
        [minute, hour, date, month, weekday].map(|f| f.text.as_str()).join(" ")
    }
}

type Special = fn(&mut Dice, sober: bool) -> (String, Item);

const DATES: &[Special] = &[
    |_, _| ("L".into(), Item::FromEnd(0)),
    |_, _| ("LW".into(), Item::LastWorking),
    |dice, sober| match dice.below(31) {
        _ if sober => ("L".into(), Item::FromEnd(0)),
        n => (format!("L-{n}"), Item::FromEnd(n)),
    },
    |dice, sober| match dice.below(31) + 1 {
        _ if sober => ("LW".into(), Item::LastWorking),
        n => (format!("{n}W"), Item::Working(n)),
    },
];

const WEEKDAYS: &[Special] = &[
    |dice, _| {
        let (weekday, k) = (dice.below(7), dice.below(5) + 1);
        (
            format!("{}#{k}", dice.among(&[NAMES[weekday as usize].to_owned(), weekday.to_string()])),
            Item::Kth(weekday, k),
        )
    },
    |dice, _| {
        let weekday = dice.below(7);
        (format!("{weekday}L"), Item::Last(weekday))
    },
];

const NAMES: [&str; 7] = ["sun", "Mon", "TUE", "wed", "thu", "fri", "sat"];

fn values(text: &str, values: impl Iterator<Item = i64>) -> Field {
    Field { text: text.into(), items: vec![Item::Values(values.collect())] }
}

/// Any field from `least` to `most`, a third of them `*`.
fn field(dice: &mut Dice, least: i64, most: i64, sober: bool, special: &[Special]) -> Field {
    if dice.below(3) == 0 {
        let step = [1, 1, 2, 3, 5, 7, 15, 29][dice.below(8) as usize];
        let text = if step == 1 { "*".to_owned() } else { format!("*/{step}") };
        return values(&text, (least..=most).step_by(step as usize));
    }
    let mut field = Field { text: String::new(), items: Vec::new() };
    for n in 0..=dice.below(3) {
        let (text, item) = match dice.below(if special.is_empty() { 4 } else { 6 }) {
            0 | 1 => {
                let value = least + dice.below(most - least + 1);
                (value.to_string(), Item::Values(vec![value]))
            }
            4.. => dice.among(special)(dice, sober),
            kind => {
                let size = most - least + 1;
                let (a, b) = (least + dice.below(size), least + dice.below(size));
                let (a, b) = if sober { (a.min(b), a.max(b)) } else { (a, b) };
                // cronsim takes `5-5/2` for `5/2`.
                let kind = if sober && a == b { 2 } else { kind };
                let step = if kind == 2 { 1 } else { dice.below(9) + 1 };
                let through = if a <= b { b } else { b + size };
                let items = (a..=through).step_by(step as usize).map(|v| (v - least) % size + least).collect();
                let text = if kind == 2 { format!("{a}-{b}") } else { format!("{a}-{b}/{step}") };
                (text, Item::Values(items))
            }
        };
        field.text += if n > 0 { "," } else { "" };
        field.text += &text;
        field.items.push(item);
    }
    field
}
