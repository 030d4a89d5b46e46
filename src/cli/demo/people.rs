//! Randomness that repeats itself, and the people who do not exist.

/// SplitMix64: the same seed tells the same story.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from).max(0) as u64 + 1) as i64
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// One of them, by their weights.
    pub fn weighted<'a, T>(&mut self, from: &'a [(T, u64)]) -> &'a T {
        let mut left = self.below(from.iter().map(|(_, weight)| weight).sum());
        for (value, weight) in from {
            if left < *weight {
                return value;
            }
            left -= weight;
        }
        &from[0].0
    }
}

/// Somebody, as they write themselves, and the same in the letters of an address.
#[derive(Debug, Clone)]
pub struct Somebody {
    pub first: &'static str,
    pub last: &'static str,
    pub email: String,
}

const FIRST: [(&str, &str); 72] = [
    ("Priya", "priya"),
    ("Maya", "maya"),
    ("Łukasz", "lukasz"),
    ("Zoë", "zoe"),
    ("Chidi", "chidi"),
    ("Ingrid", "ingrid"),
    ("José", "jose"),
    ("Aiko", "aiko"),
    ("Fatima", "fatima"),
    ("Liam", "liam"),
    ("Sofía", "sofia"),
    ("Matteo", "matteo"),
    ("Anneke", "anneke"),
    ("Dmitri", "dmitri"),
    ("Noor", "noor"),
    ("Rahul", "rahul"),
    ("Mei", "mei"),
    ("Kwame", "kwame"),
    ("Élodie", "elodie"),
    ("Søren", "soren"),
    ("Beatriz", "beatriz"),
    ("Tomáš", "tomas"),
    ("Aaliyah", "aaliyah"),
    ("Hugo", "hugo"),
    ("Yuki", "yuki"),
    ("Olga", "olga"),
    ("Diego", "diego"),
    ("Hannah", "hannah"),
    ("Wei", "wei"),
    ("Amara", "amara"),
    ("Jürgen", "juergen"),
    ("Nadia", "nadia"),
    ("Oliver", "oliver"),
    ("Thảo", "thao"),
    ("Marta", "marta"),
    ("Ibrahim", "ibrahim"),
    ("Camille", "camille"),
    ("Ravi", "ravi"),
    ("Astrid", "astrid"),
    ("Nikos", "nikos"),
    ("Grace", "grace"),
    ("Mateus", "mateus"),
    ("Siobhán", "siobhan"),
    ("Emre", "emre"),
    ("Lina", "lina"),
    ("Daniel", "daniel"),
    ("Ayşe", "ayse"),
    ("Pedro", "pedro"),
    ("Emma", "emma"),
    ("Kofi", "kofi"),
    ("Agnieszka", "agnieszka"),
    ("Samir", "samir"),
    ("Chloé", "chloe"),
    ("Björn", "bjorn"),
    ("Isabella", "isabella"),
    ("Haruto", "haruto"),
    ("Leïla", "leila"),
    ("Patrick", "patrick"),
    ("Ji-woo", "jiwoo"),
    ("Valentina", "valentina"),
    ("Tariq", "tariq"),
    ("Eleni", "eleni"),
    ("Jack", "jack"),
    ("Oksana", "oksana"),
    ("Andrés", "andres"),
    ("Shreya", "shreya"),
    ("Lars", "lars"),
    ("Ngozi", "ngozi"),
    ("Michał", "michal"),
    ("Aroha", "aroha"),
    ("美咲", "misaki"),
    ("ليلى", "layla"),
];

const LAST: [(&str, &str); 72] = [
    ("Shah", "shah"),
    ("Rossi", "rossi"),
    ("Nowak", "nowak"),
    ("van Dijk", "vandijk"),
    ("Okafor", "okafor"),
    ("Lindqvist", "lindqvist"),
    ("García", "garcia"),
    ("Tanaka", "tanaka"),
    ("Haddad", "haddad"),
    ("O'Brien", "obrien"),
    ("Fernández", "fernandez"),
    ("Bianchi", "bianchi"),
    ("de Vries", "devries"),
    ("Ivanov", "ivanov"),
    ("Rahman", "rahman"),
    ("Kapoor", "kapoor"),
    ("Chen", "chen"),
    ("Mensah", "mensah"),
    ("Dubois", "dubois"),
    ("Jensen", "jensen"),
    ("Silva", "silva"),
    ("Novák", "novak"),
    ("Johnson", "johnson"),
    ("Martin", "martin"),
    ("Sato", "sato"),
    ("Petrova", "petrova"),
    ("Morales", "morales"),
    ("Weber", "weber"),
    ("Zhang", "zhang"),
    ("Adeyemi", "adeyemi"),
    ("Müller", "mueller"),
    ("Kovalenko", "kovalenko"),
    ("Smith", "smith"),
    ("Nguyễn", "nguyen"),
    ("Kowalska", "kowalska"),
    ("Yılmaz", "yilmaz"),
    ("Lefèvre", "lefevre"),
    ("Iyer", "iyer"),
    ("Berg", "berg"),
    ("Papadopoulos", "papadopoulos"),
    ("Williams", "williams"),
    ("Costa", "costa"),
    ("Murphy", "murphy"),
    ("Demir", "demir"),
    ("Khalil", "khalil"),
    ("Cohen", "cohen"),
    ("Öztürk", "ozturk"),
    ("Almeida", "almeida"),
    ("Schneider", "schneider"),
    ("Boateng", "boateng"),
    ("Wiśniewska", "wisniewska"),
    ("Mansour", "mansour"),
    ("Moreau", "moreau"),
    ("Gustafsson", "gustafsson"),
    ("Romano", "romano"),
    ("Suzuki", "suzuki"),
    ("Benali", "benali"),
    ("Kelly", "kelly"),
    ("Park", "park"),
    ("Castillo", "castillo"),
    ("Hussain", "hussain"),
    ("Georgiou", "georgiou"),
    ("Taylor", "taylor"),
    ("Melnyk", "melnyk"),
    ("Ortiz", "ortiz"),
    ("Banerjee", "banerjee"),
    ("Hansen", "hansen"),
    ("Eze", "eze"),
    ("Wójcik", "wojcik"),
    ("Ngata", "ngata"),
    ("山本", "yamamoto"),
    ("منصور", "mansoor"),
];

pub const COMPANIES: [&str; 24] = [
    "Alder & Finch",
    "Blue Harbour Studio",
    "Cobalt Freight",
    "Dovetail Interiors",
    "Elm Street Dental",
    "Fjordkraft Media",
    "Grüner Markt",
    "Halcyon Yoga",
    "Ibis Travel",
    "Juniper Legal",
    "Kestrel Robotics",
    "Lumen Optics",
    "Marigold Bakery",
    "Nimbus Analytics",
    "Orchard Labs",
    "Pelican Swim School",
    "Quartz Jewellers",
    "Redwood Accounting",
    "Sage Kitchens",
    "Tandem Cycles",
    "Umbra Photography",
    "Vela Boats",
    "Willow Childcare",
    "Zephyr HVAC",
];

/// The domains that are kept free for examples, and mail that reaches nobody.
const DOMAINS: [(&str, u64); 3] = [("example.com", 60), ("example.org", 25), ("example.net", 15)];

/// The person of that number: no two have the same address.
pub fn somebody(dice: &mut Dice, number: usize) -> Somebody {
    let (first, first_ascii) = *dice.pick(&FIRST);
    let (last, last_ascii) = *dice.pick(&LAST);
    let domain = dice.weighted(&DOMAINS);
    Somebody { first, last, email: format!("{first_ascii}.{last_ascii}{number}@{domain}") }
}
