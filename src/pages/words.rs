//! The product's own words on the public pages, in every language it speaks, and how
//! each language writes numbers, money and dates.
//!
//! A campaign may say much of this in its own words; these stand where it does not.
//! A language is one `static` here: copy [`EN`], translate it, add it to [`CATALOGUES`].

use goodword_core::{money::Money, reward::RewardValue, time::Timestamp};
use maud::{Markup, html};

/// Everything the pages say. `{word}` is filled in by [`fill`] or [`fill_markup`].
pub struct Words {
    pub skip: &'static str,
    pub test_data: &'static str,
    pub footer: &'static str,
    pub terms: &'static str,
    pub go_to: &'static str,
    /// At the beginning of a sentence, and within.
    pub a_friend: [&'static str; 2],
    pub a_reward: &'static str,

    pub required_note: &'static str,
    pub first_name: &'static str,
    pub email: &'static str,
    pub choose: &'static str,
    pub agree: &'static str,
    pub leave_empty: &'static str,
    pub error_title: &'static str,
    pub check_these: &'static str,
    pub again_title: &'static str,
    pub again_text: &'static str,
    pub err_first_name: &'static str,
    pub err_email: &'static str,
    pub err_needed: &'static str,
    pub err_long: &'static str,
    pub err_phone: &'static str,
    pub err_url: &'static str,
    pub err_number: &'static str,
    pub err_date: &'static str,
    pub err_choice: &'static str,
    pub err_tick: &'static str,
    pub err_terms: &'static str,

    pub offer: &'static str,
    pub offer_plain: &'static str,
    pub offer_lede: &'static str,
    pub offer_plain_lede: &'static str,
    pub offer_form: &'static str,
    pub offer_plain_form: &'static str,
    pub offer_button: &'static str,
    pub offer_plain_button: &'static str,
    pub offer_privacy: &'static str,
    pub for_you: &'static str,
    pub from: &'static str,
    pub friend_how: [[&'static str; 2]; 3],
    pub friend_how_last_plain: [&'static str; 2],
    pub how: &'static str,

    pub thanks: &'static str,
    pub thanks_text: &'static str,

    pub not_started: &'static str,
    pub not_started_text: &'static str,
    pub paused: &'static str,
    pub paused_text: &'static str,
    pub ended: &'static str,
    pub ended_text: &'static str,
    pub used_up: &'static str,
    pub used_up_text: &'static str,
    pub own_link: &'static str,
    pub own_link_text: &'static str,
    pub already: &'static str,
    pub already_text: &'static str,

    pub join_both: [&'static str; 2],
    pub join_one: &'static str,
    pub join_plain: &'static str,
    pub join_lede: &'static str,
    pub join_form: &'static str,
    pub join_button: &'static str,
    pub join_privacy: &'static str,
    pub for_your_friend: &'static str,
    pub referrer_how: [[&'static str; 2]; 3],
    pub referrer_how_last_plain: [&'static str; 2],
    pub join_closed: &'static str,
    pub join_closed_text: &'static str,
    pub taken: &'static str,
    pub taken_text: &'static str,

    pub page_of: &'static str,
    pub me_title: &'static str,
    pub me_lede: &'static str,
    pub your_link: &'static str,
    pub copy_link: &'static str,
    pub link_copied: &'static str,
    pub share: &'static str,
    pub more: &'static str,
    pub sms: &'static str,
    pub email_social: &'static str,
    pub share_subject: &'static str,
    pub share_text: &'static str,
    pub share_text_plain: &'static str,
    pub results: &'static str,
    pub visits: &'static str,
    pub signed_up: &'static str,
    pub became_customers: &'static str,
    pub rewards: &'static str,
    pub earned: &'static str,
    pub on_its_way: &'static str,
    pub coming_soon: &'static str,
    pub no_rewards: &'static str,
    pub your_codes: &'static str,
    pub next_goal: &'static str,
    pub reached: &'static str,
    pub people: &'static str,
    pub nobody: &'static str,
    pub nobody_text: &'static str,
    pub somebody: &'static str,
    pub signed_up_on: &'static str,
    pub customer_since: &'static str,
    pub state_joined: &'static str,
    pub state_customer: &'static str,
    pub state_coming: &'static str,
    pub state_coming_on: &'static str,
    pub state_sent: &'static str,
    pub state_not_counted: &'static str,
    pub and_more: &'static str,
    pub in_person: &'static str,
    pub scan: &'static str,
    pub qr_title: &'static str,
    pub download: &'static str,
    pub good_to_know: &'static str,
    pub questions: [[&'static str; 2]; 4],
    pub standing_paused: &'static str,
    pub standing_ended: &'static str,
    pub resting: &'static str,
    pub resting_text: &'static str,

    pub not_found: &'static str,
    pub not_found_text: &'static str,
    pub wrong: &'static str,
    pub wrong_text: &'static str,
    pub reference: &'static str,
    pub slow_down: &'static str,
    pub slow_down_text: &'static str,
    pub unreadable: &'static str,
    pub unreadable_text: &'static str,
    pub back: &'static str,

    pub decimal: char,
    pub group: char,
    /// `$12` or `12 $`.
    pub currency_first: bool,
    pub day_month: &'static str,
    pub day_month_year: &'static str,
    pub months: [&'static str; 12],
}

pub static EN: Words = Words {
    skip: "Skip to content",
    test_data: "Test data: nothing on this page counts.",
    footer: "{company} referral programme",
    terms: "Terms",
    go_to: "Go to {company}",
    a_friend: ["A friend", "a friend"],
    a_reward: "a reward",

    required_note: "Fields with * are required.",
    first_name: "First name",
    email: "E-mail address",
    choose: "Please choose",
    agree: "I have read the {terms} and agree to them.",
    leave_empty: "Leave this field empty",
    error_title: "Please check: {title}",
    check_these: "Please check these answers",
    again_title: "Please send this once more",
    again_text: "We could not be sure that a person sent it, or the page was open for too long. Your answers are still here: look them over and press the button again.",
    err_first_name: "Enter your first name.",
    err_email: "Enter an e-mail address like name@example.com.",
    err_needed: "Answer “{label}”.",
    err_long: "Shorten “{label}” to at most {count} characters.",
    err_phone: "Enter a phone number for “{label}”, like +1 202 555 0143.",
    err_url: "Enter a web address for “{label}”, like https://example.com.",
    err_number: "Enter a number for “{label}”, like 12 or 12.5.",
    err_date: "Enter a date for “{label}”, like 2026-11-20.",
    err_choice: "Choose one of the answers for “{label}”.",
    err_tick: "Tick “{label}”.",
    err_terms: "Agree to the terms to go on.",

    offer: "{referrer} gives you {reward}",
    offer_plain: "{referrer} invites you to {company}",
    offer_lede: "Tell {company} who you are, and the offer is yours.",
    offer_plain_lede: "Tell {company} who you are, and you will hear from them.",
    offer_form: "Get your offer",
    offer_plain_form: "Introduce yourself",
    offer_button: "Get my offer",
    offer_plain_button: "Send",
    offer_privacy: "{referrer} will see your first name and how it goes, never your e-mail address.",
    for_you: "For you",
    from: "from {referrer}",
    friend_how: [
        ["Leave your details", "A name and an e-mail address. It takes half a minute."],
        ["Become a customer", "{company} knows who sent you."],
        ["Enjoy {reward}", "{referrer} thought of you."],
    ],
    friend_how_last_plain: ["Everybody is glad", "{referrer} thought of you, and you found something good."],
    how: "How it works",

    thanks: "Thank you!",
    thanks_text: "Your details have arrived. {company} takes it from here.",

    not_started: "This starts soon",
    not_started_text: "{company} has not opened this offer yet. Please come back a little later.",
    paused: "This offer is taking a break",
    paused_text: "Nobody can join at the moment. {company} is glad to hear from you all the same.",
    ended: "This offer is over",
    ended_text: "The link does not work any more, but {company} is still there for you.",
    used_up: "This link has done its work",
    used_up_text: "It was used as often as it can be. {company} is glad to hear from you all the same.",
    own_link: "This link is your own",
    own_link_text: "It is meant for your friends: send it to somebody who would like {company}.",
    already: "You are already taking part",
    already_text: "This address is known here, so the offer for newcomers does not apply. Whatever you have with {company} stays as it is.",

    join_both: ["Give {gives}.", "Get {gets}."],
    join_one: "Recommend {company}, get {gets}",
    join_plain: "Recommend {company}",
    join_lede: "Get a link of your own and pass it on. When a friend of yours becomes a customer, we thank you for it.",
    join_form: "Get your link",
    join_button: "Get my link",
    join_privacy: "Friends who use your link see your first name, and nothing else of you.",
    for_your_friend: "For your friend",
    referrer_how: [
        ["Pass on your link", "One link, wherever you like."],
        ["A friend becomes a customer", "We know that you sent them."],
        ["You get {reward}", "Your page shows when it is on its way."],
    ],
    referrer_how_last_plain: ["We say thank you", "Your page shows how it goes."],
    join_closed: "Sign-up is by invitation",
    join_closed_text: "Would you like to recommend {company}? Ask them for a link of your own.",
    taken: "This address is already taking part",
    taken_text: "If it is yours, ask {company} for your link: they can give it to you again. To keep everybody’s page private, nothing else is shown here.",

    page_of: "Page of {name}",
    me_title: "Your referral link",
    me_lede: "Do you know somebody who would like {company}? Send them your link.",
    your_link: "Your link",
    copy_link: "Copy link",
    link_copied: "Link copied",
    share: "Share your link",
    more: "More",
    sms: "SMS",
    email_social: "E-mail",
    share_subject: "{company}: something for you",
    share_text: "I thought of you: with this link you get {reward} at {company}.",
    share_text_plain: "I thought of you: have a look at {company}.",
    results: "Your results",
    visits: "visits",
    signed_up: "Signed up",
    became_customers: "Became customers",
    rewards: "Your rewards",
    earned: "earned so far",
    on_its_way: "On its way",
    coming_soon: "on its way",
    no_rewards: "Your first reward will appear here.",
    your_codes: "Your codes",
    next_goal: "Next: {reward}",
    reached: "{reached} of {goal} friends",
    people: "People you referred",
    nobody: "Nobody yet",
    nobody_text: "The best first step is a message to one person who comes to mind right now.",
    somebody: "Somebody",
    signed_up_on: "Signed up on {date}",
    customer_since: "Customer since {date}",
    state_joined: "Thinking it over",
    state_customer: "Became a customer",
    state_coming: "{reward} on its way",
    state_coming_on: "{reward} on {date}",
    state_sent: "{reward} sent",
    state_not_counted: "Does not count",
    and_more: "and {count} more",
    in_person: "Meeting in person?",
    scan: "They scan it and see your offer.",
    qr_title: "QR code for {link}",
    download: "Download",
    good_to_know: "Good to know",
    questions: [
        ["Whom can I refer?", "Anybody who is not taking part yet. You cannot refer yourself."],
        ["What do my friends see of me?", "Your first name, so that they know who the link is from. Nothing else."],
        ["What do I see of my friends?", "First name, initial and how it goes. No addresses, no details."],
        ["Can others see this page?", "Whoever has its address can. Pass on your link, and keep the address of this page to yourself."],
    ],
    standing_paused: "The programme is taking a break: friends cannot join at the moment. Rewards that are on their way still arrive.",
    standing_ended: "The programme is over: friends cannot join any more. Rewards that are on their way still arrive.",
    resting: "Your link is resting",
    resting_text: "It cannot be used at the moment. {company} can tell you why and what to do.",

    not_found: "There is nothing here",
    not_found_text: "The link may be mistyped or no longer in use. Please check it, or ask the person you have it from.",
    wrong: "That did not work",
    wrong_text: "The fault is ours, not yours. Please try again in a moment.",
    reference: "If you tell somebody about it, this helps to find the cause:",
    slow_down: "One moment, please",
    slow_down_text: "There were many requests in a short time. Please try again in {count} seconds.",
    unreadable: "Please send it again",
    unreadable_text: "Your message reached us in a form we could not read. Go back, reload the page and send it again.",
    back: "Back to the page",

    decimal: '.',
    group: ',',
    currency_first: true,
    day_month: "{day} {month}",
    day_month_year: "{day} {month} {year}",
    months: ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
};

pub static DE: Words = Words {
    skip: "Zum Inhalt",
    test_data: "Testdaten: Nichts auf dieser Seite zählt.",
    footer: "Empfehlungsprogramm von {company}",
    terms: "Teilnahmebedingungen",
    go_to: "Zu {company}",
    a_friend: ["Jemand", "jemandem"],
    a_reward: "eine Prämie",

    required_note: "Felder mit * müssen ausgefüllt werden.",
    first_name: "Vorname",
    email: "E-Mail-Adresse",
    choose: "Bitte wählen",
    agree: "Ich habe die {terms} gelesen und stimme ihnen zu.",
    leave_empty: "Dieses Feld bitte leer lassen",
    error_title: "Bitte prüfen: {title}",
    check_these: "Bitte prüfen Sie diese Angaben",
    again_title: "Bitte senden Sie das noch einmal",
    again_text: "Wir waren nicht sicher, ob ein Mensch das gesendet hat, oder die Seite war zu lange offen. Ihre Angaben sind noch da: Bitte sehen Sie sie durch und drücken Sie noch einmal auf den Knopf.",
    err_first_name: "Geben Sie Ihren Vornamen ein.",
    err_email: "Geben Sie eine E-Mail-Adresse wie name@example.com ein.",
    err_needed: "Beantworten Sie „{label}“.",
    err_long: "Kürzen Sie „{label}“ auf höchstens {count} Zeichen.",
    err_phone: "Geben Sie bei „{label}“ eine Telefonnummer wie +49 30 123456 ein.",
    err_url: "Geben Sie bei „{label}“ eine Webadresse wie https://example.com ein.",
    err_number: "Geben Sie bei „{label}“ eine Zahl wie 12 oder 12,5 ein.",
    err_date: "Geben Sie bei „{label}“ ein Datum wie 2026-11-20 ein.",
    err_choice: "Wählen Sie bei „{label}“ eine der Antworten.",
    err_tick: "Kreuzen Sie „{label}“ an.",
    err_terms: "Stimmen Sie den Teilnahmebedingungen zu, um fortzufahren.",

    offer: "{referrer} schenkt Ihnen {reward}",
    offer_plain: "{referrer} lädt Sie zu {company} ein",
    offer_lede: "Sagen Sie {company}, wer Sie sind, und das Angebot gehört Ihnen.",
    offer_plain_lede: "Sagen Sie {company}, wer Sie sind, und Sie hören von uns.",
    offer_form: "Angebot sichern",
    offer_plain_form: "Stellen Sie sich vor",
    offer_button: "Angebot sichern",
    offer_plain_button: "Absenden",
    offer_privacy: "{referrer} sieht Ihren Vornamen und wie es weitergeht, nie Ihre E-Mail-Adresse.",
    for_you: "Für Sie",
    from: "von {referrer}",
    friend_how: [
        ["Angaben machen", "Name und E-Mail-Adresse, das dauert eine halbe Minute."],
        ["Kundin oder Kunde werden", "{company} weiß, wer Sie geschickt hat."],
        ["{reward} genießen", "{referrer} hat an Sie gedacht."],
    ],
    friend_how_last_plain: ["Alle freuen sich", "{referrer} hat an Sie gedacht, und Sie haben etwas Gutes gefunden."],
    how: "So geht es",

    thanks: "Vielen Dank!",
    thanks_text: "Ihre Angaben sind angekommen. {company} kümmert sich um alles Weitere.",

    not_started: "Bald geht es los",
    not_started_text: "{company} hat dieses Angebot noch nicht geöffnet. Bitte kommen Sie etwas später wieder.",
    paused: "Dieses Angebot macht Pause",
    paused_text: "Zurzeit kann niemand teilnehmen. {company} freut sich trotzdem auf Sie.",
    ended: "Dieses Angebot ist vorbei",
    ended_text: "Der Link gilt nicht mehr, aber {company} ist weiter für Sie da.",
    used_up: "Dieser Link hat seinen Dienst getan",
    used_up_text: "Er wurde so oft benutzt, wie es möglich ist. {company} freut sich trotzdem auf Sie.",
    own_link: "Das ist Ihr eigener Link",
    own_link_text: "Er ist für andere gedacht: Schicken Sie ihn jemandem, dem {company} gefallen würde.",
    already: "Sie nehmen schon teil",
    already_text: "Diese Adresse ist hier bekannt, darum gilt das Angebot für Neue nicht. Was Sie bei {company} haben, bleibt, wie es ist.",

    join_both: ["Schenken Sie {gives}.", "Bekommen Sie {gets}."],
    join_one: "{company} empfehlen, {gets} bekommen",
    join_plain: "{company} empfehlen",
    join_lede: "Holen Sie sich Ihren eigenen Link und geben Sie ihn weiter. Wer durch Sie zu uns kommt, ist uns ein Dankeschön wert.",
    join_form: "Ihr Link",
    join_button: "Link bekommen",
    join_privacy: "Wer Ihren Link benutzt, sieht Ihren Vornamen und sonst nichts von Ihnen.",
    for_your_friend: "Für die anderen",
    referrer_how: [
        ["Link weitergeben", "Ein Link, wo immer Sie wollen."],
        ["Jemand wird Kundin oder Kunde", "Wir wissen, wer den Anstoß gab."],
        ["Sie bekommen {reward}", "Ihre Seite zeigt, wann es so weit ist."],
    ],
    referrer_how_last_plain: ["Wir bedanken uns", "Ihre Seite zeigt, wie es steht."],
    join_closed: "Teilnahme auf Einladung",
    join_closed_text: "Möchten Sie {company} empfehlen? Fragen Sie dort nach einem eigenen Link.",
    taken: "Diese Adresse nimmt schon teil",
    taken_text: "Wenn es Ihre ist, fragen Sie {company} nach Ihrem Link: Dort bekommen Sie ihn wieder. Damit jede Seite privat bleibt, steht hier nicht mehr.",

    page_of: "Seite von {name}",
    me_title: "Ihr Empfehlungslink",
    me_lede: "Kennen Sie jemanden, dem {company} gefallen würde? Schicken Sie Ihren Link.",
    your_link: "Ihr Link",
    copy_link: "Link kopieren",
    link_copied: "Link kopiert",
    share: "Link teilen",
    more: "Mehr",
    sms: "SMS",
    email_social: "E-Mail",
    share_subject: "{company}: etwas für dich",
    share_text: "Ich habe an dich gedacht: Mit diesem Link bekommst du {reward} bei {company}.",
    share_text_plain: "Ich habe an dich gedacht: Sieh dir {company} an.",
    results: "Ihre Ergebnisse",
    visits: "Besuche",
    signed_up: "Angemeldet",
    became_customers: "Gekauft",
    rewards: "Ihre Prämien",
    earned: "bisher verdient",
    on_its_way: "Unterwegs",
    coming_soon: "unterwegs",
    no_rewards: "Hier erscheint Ihre erste Prämie.",
    your_codes: "Ihre Codes",
    next_goal: "Als Nächstes: {reward}",
    reached: "{reached} von {goal} Personen",
    people: "Ihre Empfehlungen",
    nobody: "Noch niemand",
    nobody_text: "Am besten beginnt man mit einer Nachricht an einen Menschen, der einem gerade einfällt.",
    somebody: "Jemand",
    signed_up_on: "Angemeldet am {date}",
    customer_since: "Dabei seit {date}",
    state_joined: "Überlegt noch",
    state_customer: "Hat gekauft",
    state_coming: "{reward} unterwegs",
    state_coming_on: "{reward} am {date}",
    state_sent: "{reward} gesendet",
    state_not_counted: "Zählt nicht",
    and_more: "und {count} weitere",
    in_person: "Persönlich weitergeben?",
    scan: "Wer den Code scannt, sieht Ihr Angebot.",
    qr_title: "QR-Code für {link}",
    download: "Herunterladen",
    good_to_know: "Gut zu wissen",
    questions: [
        ["Wen kann ich empfehlen?", "Alle, die noch nicht teilnehmen. Sich selbst kann man nicht empfehlen."],
        ["Was sehen andere von mir?", "Ihren Vornamen, damit klar ist, von wem der Link kommt. Sonst nichts."],
        ["Was sehe ich von den anderen?", "Vornamen, Anfangsbuchstaben und wie es steht. Keine Adressen, keine Einzelheiten."],
        ["Können andere diese Seite sehen?", "Wer ihre Adresse hat, kann es. Geben Sie Ihren Link weiter und behalten Sie die Adresse dieser Seite für sich."],
    ],
    standing_paused: "Das Programm macht Pause: Zurzeit kann niemand dazukommen. Prämien, die unterwegs sind, kommen an.",
    standing_ended: "Das Programm ist vorbei: Es kann niemand mehr dazukommen. Prämien, die unterwegs sind, kommen an.",
    resting: "Ihr Link ruht",
    resting_text: "Er kann zurzeit nicht benutzt werden. {company} kann Ihnen sagen, warum und was zu tun ist.",

    not_found: "Hier ist nichts",
    not_found_text: "Der Link ist vielleicht vertippt oder gilt nicht mehr. Bitte prüfen Sie ihn, oder fragen Sie, von wem Sie ihn haben.",
    wrong: "Das hat nicht geklappt",
    wrong_text: "Der Fehler liegt bei uns, nicht bei Ihnen. Bitte versuchen Sie es gleich noch einmal.",
    reference: "Wenn Sie das melden, hilft diese Angabe bei der Suche:",
    slow_down: "Einen Moment bitte",
    slow_down_text: "Es kamen viele Anfragen in kurzer Zeit. Bitte versuchen Sie es in {count} Sekunden noch einmal.",
    unreadable: "Bitte noch einmal senden",
    unreadable_text: "Ihre Nachricht war für uns nicht lesbar. Gehen Sie zurück, laden Sie die Seite neu und senden Sie noch einmal.",
    back: "Zurück zur Seite",

    decimal: ',',
    group: '.',
    currency_first: false,
    day_month: "{day}. {month}",
    day_month_year: "{day}. {month} {year}",
    months: ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"],
};

/// Every language the product speaks, the fallback first.
pub static CATALOGUES: [(&str, &Words); 2] = [("en", &EN), ("de", &DE)];

/// The language of a page: the campaign's tag, and the product's words nearest to it.
#[derive(Clone)]
pub struct Language {
    tag: String,
    words: &'static Words,
    words_tag: &'static str,
}

impl Language {
    pub fn new(tag: &str) -> Self {
        let (words_tag, words) = catalogue(tag).unwrap_or(CATALOGUES[0]);
        Self { tag: tag.to_owned(), words, words_tag }
    }

    /// For pages that belong to no campaign: the first language of `Accept-Language`
    /// that the product speaks. Browsers list them by preference.
    pub fn accepted(header: Option<&str>) -> Self {
        let wanted = header.unwrap_or_default().split(',').filter_map(|part| part.split(';').next());
        let (tag, _) = wanted.map(str::trim).find_map(catalogue).unwrap_or(CATALOGUES[0]);
        Self::new(tag)
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub const fn words(&self) -> &'static Words {
        self.words
    }

    /// The tag of the product's words where it is another language than the campaign's.
    pub fn borrowed(&self) -> Option<&'static str> {
        (primary(&self.tag) != self.words_tag).then_some(self.words_tag)
    }

    /// `rtl` for the languages that are written so.
    pub fn dir(&self) -> &'static str {
        const RIGHT_TO_LEFT: [&str; 12] = ["ar", "arc", "ckb", "dv", "fa", "he", "iw", "ps", "sd", "ug", "ur", "yi"];
        if RIGHT_TO_LEFT.contains(&primary(&self.tag).as_str()) { "rtl" } else { "ltr" }
    }

    /// `1,234`.
    pub fn number(&self, number: i64) -> String {
        let digits = number.unsigned_abs().to_string();
        let mut out = String::from(if number < 0 { "−" } else { "" });
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                out.push(self.words.group);
            }
            out.push(digit);
        }
        out
    }

    /// `$150`, `1.250,50 €`: decimals only where there are some.
    pub fn money(&self, money: &Money) -> String {
        let decimal = Money::new(money.minor.saturating_abs(), money.currency).decimal();
        let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
        let mut amount = self.number(whole.parse().unwrap_or(i64::MAX));
        if fraction.bytes().any(|digit| digit != b'0') {
            amount.push(self.words.decimal);
            amount.push_str(fraction);
        }
        let sign = if money.minor < 0 { "−" } else { "" };
        let symbol = symbol(money.currency.as_str());
        match (self.words.currency_first, symbol) {
            (true, Some(symbol)) => format!("{sign}{symbol}{amount}"),
            (true, None) => format!("{sign}{}\u{a0}{amount}", money.currency),
            (false, symbol) => format!("{sign}{amount}\u{a0}{}", symbol.unwrap_or(money.currency.as_str())),
        }
    }

    /// `12 March`, with the year where it is not this one. Days are UTC days.
    pub fn date(&self, at: Timestamp, now: Timestamp) -> String {
        let (date, today) = (at.date(), now.date());
        let mut parts = date.splitn(3, '-');
        let (year, month, day) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let month = month.parse::<usize>().ok().and_then(|month| self.words.months.get(month.wrapping_sub(1))).copied().unwrap_or(month);
        let pattern = if today.starts_with(year) { self.words.day_month } else { self.words.day_month_year };
        fill(pattern, &[("day", day.trim_start_matches('0')), ("month", month), ("year", year)])
    }

    /// What a reward is worth, for `{reward}`: `$150`, `10 %`, `500 points`. A coupon
    /// is known by its definition's name.
    pub fn reward(&self, value: &RewardValue, name: &str) -> String {
        match value {
            RewardValue::Fixed { amount } => self.money(amount),
            RewardValue::Commission { percent, .. } => {
                let text = percent.to_string().replace('.', &self.words.decimal.to_string());
                text.replace(' ', if self.words.currency_first { "" } else { "\u{a0}" })
            }
            RewardValue::Custom { metric, units } => format!("{} {metric}", self.number(*units)),
            RewardValue::Coupon {} => name.to_owned(),
        }
    }
}

fn primary(tag: &str) -> String {
    tag.split('-').next().unwrap_or_default().to_ascii_lowercase()
}

fn catalogue(tag: &str) -> Option<(&'static str, &'static Words)> {
    let primary = primary(tag);
    CATALOGUES.into_iter().find(|(known, _)| *known == primary)
}

/// Signs that mean one currency only. Others are written with their code.
fn symbol(code: &str) -> Option<&'static str> {
    Some(match code {
        "USD" => "$",
        "EUR" => "€",
        "GBP" => "£",
        "JPY" => "¥",
        "INR" => "₹",
        "ILS" => "₪",
        "KRW" => "₩",
        "NGN" => "₦",
        "TRY" => "₺",
        "UAH" => "₴",
        "VND" => "₫",
        _ => return None,
    })
}

enum Part<'a> {
    Text(&'a str),
    Slot(&'a str),
}

/// A text and its `{slots}`. Braces that hold anything but small letters are text.
fn parts(mut text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|i| i + from) {
        let slot = text[open + 1..].find('}').map(|length| &text[open + 1..open + 1 + length]);
        match slot {
            Some(slot) if !slot.is_empty() && slot.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
                parts.extend([Part::Text(&text[..open]), Part::Slot(slot)]);
                text = &text[open + slot.len() + 2..];
                from = 0;
            }
            _ => from = open + 1,
        }
    }
    parts.push(Part::Text(text));
    parts
}

/// Fills the slots with text. A slot without a value stays as it is written, and
/// what is filled in is never looked at again.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    for part in parts(template) {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Slot(slot) => match values.iter().find(|(name, _)| *name == slot) {
                Some((_, value)) => out.push_str(value),
                None => out.extend(["{", slot, "}"]),
            },
        }
    }
    out
}

/// Fills the slots with markup: everything else is escaped by maud.
pub fn fill_markup(template: &str, value: impl Fn(&str) -> Option<Markup>) -> Markup {
    html! {
        @for part in parts(template) {
            @match part {
                Part::Text(text) => (text),
                Part::Slot(slot) => @if let Some(markup) = value(slot) { (markup) } @else { "{" (slot) "}" },
            }
        }
    }
}

/// The referrer as a template calls for it: by name, or by a word that fits its place.
pub fn referrer_in(template: &str, name: Option<&str>, words: &'static Words) -> String {
    let inside = !template.trim_start().starts_with("{referrer}");
    name.unwrap_or(words.a_friend[usize::from(inside)]).to_owned()
}

/// A first name that can stand in a headline of the company's page, or none: what
/// people enter as a name must not advertise, mislead or turn the line around.
pub fn first_name(name: &str) -> Option<String> {
    const LENGTH_MAX: usize = 40;
    let name = visible(name);
    let lower = name.to_lowercase();
    let misleading =
        name.contains(['@', '/', '\\', '<', '>']) || lower.contains("www.") || looks_like_host(&lower) || name.bytes().filter(u8::is_ascii_digit).count() > 4;
    (!name.is_empty() && name.chars().count() <= LENGTH_MAX && !misleading).then_some(name)
}

/// `casino.example`: a dot between letters is no abbreviation.
fn looks_like_host(text: &str) -> bool {
    text.split_whitespace().any(|word| {
        word.split_once('.').is_some_and(|(before, after)| before.chars().count() > 1 && after.chars().take_while(|c| c.is_alphabetic()).count() > 1)
    })
}

/// `Maya R.`: what one participant may see of another.
pub fn short_name(first: &str, last: &str) -> Option<String> {
    let first = first_name(first)?;
    let initial = first_name(last).and_then(|last| last.chars().find(|c| c.is_alphabetic()));
    Some(match initial {
        Some(initial) => format!("{first} {}.", initial.to_uppercase()),
        None => first,
    })
}

/// Without control characters and without those that change the direction of text.
fn visible(text: &str) -> String {
    let hidden = |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    text.chars().filter(|c| !hidden(*c)).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, code.parse().unwrap())
    }

    #[test]
    fn the_nearest_language_is_chosen() {
        let of = |tag: &str| {
            let language = Language::new(tag);
            (language.words().first_name, language.dir(), language.borrowed())
        };
        assert_eq!(of("de-CH"), ("Vorname", "ltr", None));
        assert_eq!(of("EN-us"), ("First name", "ltr", None));
        assert_eq!(of("fr"), ("First name", "ltr", Some("en")));
        assert_eq!(of("ar-EG"), ("First name", "rtl", Some("en")));
        assert_eq!(Language::accepted(Some("fr-FR, de;q=0.8, en;q=0.5")).tag(), "de");
        assert_eq!(Language::accepted(Some("*;;,,\u{0}")).tag(), "en");
        assert_eq!(Language::accepted(None).tag(), "en");
    }

    #[test]
    fn money_and_numbers_follow_the_language() {
        let (en, de) = (Language::new("en"), Language::new("de"));
        assert_eq!(en.money(&money(15_000, "USD")), "$150");
        assert_eq!(en.money(&money(-123_456, "EUR")), "−€1,234.56");
        assert_eq!(en.money(&money(5_000, "CHF")), "CHF\u{a0}50");
        assert_eq!(en.money(&money(5_000, "JPY")), "¥5,000");
        assert_eq!(de.money(&money(123_450, "EUR")), "1.234,50\u{a0}€");
        assert_eq!(de.money(&money(1_234, "KWD")), "1,234\u{a0}KWD");
        assert_eq!(en.number(1_234_567), "1,234,567");
        assert_eq!(en.number(999), "999");
    }

    #[test]
    fn a_year_is_named_where_it_is_another() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(Language::new("en").date(at("2026-03-02"), at("2026-11-20")), "2 March");
        assert_eq!(Language::new("de").date(at("2025-12-31"), at("2026-11-20")), "31. Dezember 2025");
    }

    #[test]
    fn rewards_have_a_short_name() {
        let value = |json: &str| serde_json::from_str::<RewardValue>(json).unwrap();
        let (en, de) = (Language::new("en"), Language::new("de"));
        assert_eq!(en.reward(&value(r#"{"type":"commission","percent":12.5}"#), "x"), "12.5%");
        assert_eq!(de.reward(&value(r#"{"type":"commission","percent":12.5}"#), "x"), "12,5\u{a0}%");
        assert_eq!(en.reward(&value(r#"{"type":"custom","metric":"points","units":1500}"#), "x"), "1,500 points");
        assert_eq!(en.reward(&value(r#"{"type":"coupon"}"#), "10% off"), "10% off");
    }

    #[test]
    fn what_is_filled_in_is_not_filled_again() {
        assert_eq!(fill("{a} and {b}, {c} {", &[("a", "{b}"), ("b", "2")]), "{b} and 2, {c} {");
        assert_eq!(fill("{ {a}} {A} {}", &[("a", "1")]), "{ 1} {A} {}");
        let markup = fill_markup("<b>{a}", |_| Some(html! { i { "<" } }));
        assert_eq!(markup.into_string(), "&lt;b&gt;<i>&lt;</i>");
    }

    #[test]
    fn names_cannot_mislead() {
        assert_eq!(first_name("  Anne  Marie\u{202e} ").as_deref(), Some("Anne Marie"));
        assert_eq!(first_name("J.").as_deref(), Some("J."));
        assert_eq!(first_name("مها").as_deref(), Some("مها"));
        for name in ["", "\u{200b}", "priya@example.com", "Win at casino.example", "http://x", "www.x", "<script>", "Call 0900 123", &"x".repeat(41)] {
            assert_eq!(first_name(name), None, "{name}");
        }
    }

    #[test]
    fn others_see_a_short_name() {
        assert_eq!(short_name("Maya", "rosen").as_deref(), Some("Maya R."));
        assert_eq!(short_name("Maya", "").as_deref(), Some("Maya"));
        assert_eq!(short_name("Maya", "m@example.com").as_deref(), Some("Maya"));
        assert_eq!(short_name("maya@example.com", "R"), None);
    }
}
