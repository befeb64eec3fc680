//! Everything that is known to be a secret, by its form. Order matters only among rules that share a literal:
//! the first that fits names the find. Sources: the vendors' own documents and public scanners' lists.

use super::Detector;
use super::look::Class::{Alnum, Base64, Digit, Hex, LowerHex, Path, Upper, Url, Word};
use super::proof::Proof::{Crc62, Holds, Random, Varied};
use super::rule::Part::{Exact, Run, Says};
use super::rule::{Edge, Form, Rule, key};

const fn run(parts: &'static [super::rule::Part]) -> Form {
    Form::Parts(parts, Varied)
}

/// All rules.
pub const RULES: &[&[Rule]] = &[LLM_KEYS, CODE_KEYS, CLOUD_KEYS, SERVICE_KEYS, PASSWORDS, PEOPLE];

const LLM_KEYS: &[Rule] = &[
    key("anthropic_key", "ANTHROPIC", &["sk-ant-"], run(&[Run(Word, 24, 220)])),
    key("openrouter_key", "OPENROUTER", &["sk-or-v1-"], run(&[Exact(LowerHex, 64)])),
    key(
        "openai_key",
        "OPENAI",
        &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"],
        run(&[Run(Word, 40, 260)]),
    ),
    key(
        "openai_legacy_key",
        "OPENAI",
        &["sk-"],
        Form::Parts(&[Run(Word, 40, 260)], Holds("T3BlbkFJ")),
    ),
    key("sk_key", "SK", &["sk-"], Form::Parts(&[Run(Word, 20, 260)], Random)),
    key("groq_key", "GROQ", &["gsk_"], run(&[Run(Alnum, 40, 64)])),
    key("xai_key", "XAI", &["xai-"], run(&[Run(Alnum, 60, 100)])),
    key("perplexity_key", "PERPLEXITY", &["pplx-"], run(&[Run(Alnum, 40, 64)])),
    key("huggingface_key", "HUGGINGFACE", &["hf_", "api_org_"], run(&[Run(Alnum, 30, 40)])),
    key("google_key", "GOOGLE", &["AIza"], run(&[Exact(Word, 35)])),
    key("google_oauth_secret", "GOOGLE", &["GOCSPX-"], run(&[Exact(Word, 28)])),
    key("replicate_key", "REPLICATE", &["r8_"], run(&[Exact(Alnum, 37)])),
    key("fireworks_key", "FIREWORKS", &["fw_"], Form::Parts(&[Run(Alnum, 20, 48)], Random)),
    key("nvidia_key", "NVIDIA", &["nvapi-"], run(&[Run(Word, 60, 80)])),
    key("cerebras_key", "CEREBRAS", &["csk-"], run(&[Run(Alnum, 40, 64)])),
    key("together_key", "TOGETHER", &["tgp_v1_"], run(&[Run(Word, 40, 50)])),
    key("tavily_key", "TAVILY", &["tvly-"], Form::Parts(&[Run(Word, 24, 64)], Random)),
    key("jina_key", "JINA", &["jina_"], run(&[Run(Word, 50, 70)])),
    key("langsmith_key", "LANGSMITH", &["lsv2_pt_", "lsv2_sk_"], run(&[Run(Word, 40, 48)])),
    // Our own, as `weir key new` makes them.
    key("weir_key", "WEIR", &["weir_"], run(&[Exact(LowerHex, 64)])),
    key("am_key", "AM", &["am_"], Form::Parts(&[Run(Word, 24, 100)], Random)),
];

const CODE_KEYS: &[Rule] = &[
    key(
        "github_token",
        "GITHUB",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        Form::Parts(&[Exact(Alnum, 36)], Crc62),
    ),
    key(
        "github_pat",
        "GITHUB",
        &["github_pat_"],
        run(&[Exact(Alnum, 22), Says("_"), Exact(Alnum, 59)]),
    ),
    key("npm_token", "NPM", &["npm_"], Form::Parts(&[Exact(Alnum, 36)], Crc62)),
    key(
        "gitlab_token",
        "GITLAB",
        &["glpat-", "glptt-", "gldt-", "glrt-", "glcbt-", "glsoat-", "glft-", "gloas-"],
        run(&[Run(Word, 20, 310)]),
    ),
    key(
        "pypi_token",
        "PYPI",
        &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZ"],
        run(&[Run(Word, 50, 1_000)]),
    ),
    key("rubygems_key", "RUBYGEMS", &["rubygems_"], run(&[Exact(LowerHex, 48)])),
    key("docker_token", "DOCKER", &["dckr_pat_", "dckr_oat_"], run(&[Run(Word, 27, 36)])),
    key("linear_key", "LINEAR", &["lin_api_", "lin_oauth_"], run(&[Run(Alnum, 40, 64)])),
    key("notion_key", "NOTION", &["ntn_"], run(&[Run(Alnum, 40, 60)])),
    key(
        "postman_key",
        "POSTMAN",
        &["PMAK-"],
        run(&[Exact(LowerHex, 24), Says("-"), Exact(LowerHex, 34)]),
    ),
    key("sentry_token", "SENTRY", &["sntryu_"], run(&[Exact(LowerHex, 64)])),
    key("sonar_token", "SONAR", &["squ_", "sqp_", "sqa_"], run(&[Exact(LowerHex, 40)])),
    key("atlassian_token", "ATLASSIAN", &["ATATT3xFfGF0"], run(&[Run(Word, 160, 220)])),
    key("figma_token", "FIGMA", &["figd_"], run(&[Run(Word, 38, 60)])),
    key("jwt", "JWT", &["eyJ"], run(JWT)),
];

const JWT: &[super::rule::Part] =
    &[Run(Word, 12, 4_096), Says(".ey"), Run(Word, 8, 8_192), Says("."), Run(Word, 16, 2_048)];

const CLOUD_KEYS: &[Rule] = &[
    key("aws_key_id", "AWS", &["AKIA", "ASIA", "ABIA", "ACCA"], run(&[Exact(Upper, 16)])),
    key(
        "azure_connection",
        "AZURE",
        &["DefaultEndpointsProtocol=", "Endpoint=sb://"],
        Form::Parts(&[Run(Url, 60, 600)], Holds("Key=")),
    ),
    key("azure_storage_key", "AZURE", &["AccountKey="], run(&[Exact(Base64, 86), Says("==")])),
    key("azure_access_key", "AZURE", &["SharedAccessKey="], run(&[Exact(Base64, 43), Says("=")])),
    key(
        "digitalocean_token",
        "DIGITALOCEAN",
        &["dop_v1_", "doo_v1_", "dor_v1_"],
        run(&[Exact(LowerHex, 64)]),
    ),
    key("databricks_token", "DATABRICKS", &["dapi"], run(&[Exact(LowerHex, 32)])),
    key("vault_token", "VAULT", &["hvs.", "hvb.", "hvr."], run(&[Run(Word, 24, 310)])),
    key("supabase_key", "SUPABASE", &["sbp_"], run(&[Exact(LowerHex, 40)])),
    key("supabase_secret", "SUPABASE", &["sb_secret_"], run(&[Run(Word, 30, 60)])),
    key("pulumi_token", "PULUMI", &["pul-"], run(&[Exact(LowerHex, 40)])),
    key(
        "planetscale_token",
        "PLANETSCALE",
        &["pscale_tkn_", "pscale_pw_"],
        run(&[Run(Word, 32, 64)]),
    ),
    key("grafana_token", "GRAFANA", &["glsa_"], run(&[Exact(Alnum, 32), Says("_"), Exact(Hex, 8)])),
    key("newrelic_key", "NEWRELIC", &["NRAK-"], run(&[Exact(Upper, 27)])),
    key("doppler_token", "DOPPLER", &["dp.pt.", "dp.st."], run(&[Run(Alnum, 40, 44)])),
    key("age_key", "AGE", &["AGE-SECRET-KEY-1"], run(&[Exact(Upper, 58)])),
];

const SERVICE_KEYS: &[Rule] = &[
    key(
        "slack_token",
        "SLACK",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-", "xoxe.xoxp-"],
        run(&[Run(Word, 24, 260)]),
    ),
    key(
        "slack_webhook",
        "SLACK",
        &["https://hooks.slack.com/services/", "https://hooks.slack.com/workflows/"],
        run(&[Run(Path, 30, 100)]),
    ),
    key(
        "discord_webhook",
        "DISCORD",
        &["https://discord.com/api/webhooks/", "https://discordapp.com/api/webhooks/"],
        run(&[Run(Digit, 17, 20), Says("/"), Run(Word, 60, 80)]),
    ),
    key(
        "discord_token",
        "DISCORD",
        &["MD", "MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"],
        run(&[Run(Word, 21, 28), Says("."), Exact(Word, 6), Says("."), Run(Word, 27, 38)]),
    ),
    key(
        "stripe_key",
        "STRIPE",
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "sk_prod_", "rk_prod_"],
        run(&[Run(Alnum, 16, 250)]),
    ),
    key("stripe_webhook", "STRIPE", &["whsec_"], run(&[Run(Base64, 32, 64)])),
    key("sendgrid_key", "SENDGRID", &["SG."], run(&[Exact(Word, 22), Says("."), Exact(Word, 43)])),
    key("twilio_key", "TWILIO", &["SK"], run(&[Exact(LowerHex, 32)])),
    key("mailgun_key", "MAILGUN", &["key-"], run(&[Exact(LowerHex, 32)])),
    key(
        "shopify_token",
        "SHOPIFY",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        run(&[Exact(Hex, 32)]),
    ),
    key("square_token", "SQUARE", &["sq0atp-", "sq0csp-"], run(&[Run(Word, 22, 44)])),
    key(
        "brevo_key",
        "BREVO",
        &["xkeysib-"],
        run(&[Exact(LowerHex, 64), Says("-"), Exact(Alnum, 16)]),
    ),
    Rule {
        id: "telegram_token",
        detector: Detector::ApiKey,
        mark: "TELEGRAM",
        literals: DIGITS,
        edge: Edge::Number,
        form: Form::TelegramBot,
    },
];

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

const PASSWORDS: &[Rule] = &[
    Rule {
        id: "private_key",
        detector: Detector::PrivateKey,
        mark: "PRIVATE_KEY",
        literals: &["-----BEGIN "],
        edge: Edge::Word,
        form: Form::Pem,
    },
    // Hyphens within words are not held back for it: the first of those that follow a word stays.
    Rule {
        id: "private_key",
        detector: Detector::PrivateKey,
        mark: "PRIVATE_KEY",
        literals: &["----BEGIN "],
        edge: Edge::Dash,
        form: Form::Pem,
    },
    Rule {
        id: "url_password",
        detector: Detector::Secret,
        mark: "SECRET_URL",
        literals: &[
            "postgres://",
            "postgresql://",
            "postgresql+psycopg2://",
            "mysql://",
            "mysql+pymysql://",
            "mariadb://",
            "mongodb://",
            "mongodb+srv://",
            "redis://",
            "rediss://",
            "amqp://",
            "amqps://",
            "mssql://",
            "sqlserver://",
            "clickhouse://",
            "smtp://",
            "smtps://",
            "ftp://",
            "sftp://",
        ],
        edge: Edge::Word,
        form: Form::Url,
    },
    Rule {
        id: "assigned_password",
        detector: Detector::Secret,
        mark: "SECRET",
        literals: NAMES,
        edge: Edge::Name,
        form: Form::Assigned,
    },
];

/// Names that only a secret is assigned to, in the ways they are written.
const NAMES: &[&str] = &[
    "password",
    "Password",
    "PASSWORD",
    "passwd",
    "PASSWD",
    "db_password",
    "DB_PASSWORD",
    "api_key",
    "api-key",
    "apikey",
    "apiKey",
    "ApiKey",
    "API_KEY",
    "client_secret",
    "clientSecret",
    "CLIENT_SECRET",
    "secret_key",
    "secretKey",
    "SECRET_KEY",
    "auth_token",
    "authToken",
    "AUTH_TOKEN",
    "access_token",
    "accessToken",
    "ACCESS_TOKEN",
    "secret_access_key",
    "aws_secret_access_key",
    "secretAccessKey",
    "SECRET_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
];

const PEOPLE: &[Rule] = &[
    person("card", Detector::Card, "CREDIT_CARD", (DIGITS, Form::Card)),
    person("us_ssn", Detector::Ssn, "SSN", (DIGITS, Form::Ssn)),
    Rule {
        id: "iban",
        detector: Detector::Iban,
        mark: "IBAN",
        literals: COUNTRIES,
        edge: Edge::Word,
        form: Form::Iban,
    },
    person("phone", Detector::Phone, "PHONE", (PHONE_STARTS, Form::Phone)),
    Rule {
        id: "email",
        detector: Detector::Email,
        mark: "EMAIL",
        literals: &["@"],
        edge: Edge::Any,
        form: Form::Email,
    },
    Rule {
        id: "prompt_leak",
        detector: Detector::PromptLeak,
        mark: "PROMPT_LEAK",
        literals: LEAKS,
        edge: Edge::Word,
        form: Form::Words,
    },
];

const fn person(
    id: &'static str,
    detector: Detector,
    mark: &'static str,
    (literals, form): (&'static [&'static str], Form),
) -> Rule {
    Rule { id, detector, mark, literals, edge: Edge::Number, form }
}

const PHONE_STARTS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "+", "("];

/// Seven ways in which a model begins to tell its instructions (S1-19).
const LEAKS: &[&str] = &[
    "my system prompt is",
    "My system prompt is",
    "my instructions are",
    "My instructions are",
    "my initial instructions",
    "My initial instructions",
    "here is my system prompt",
    "Here is my system prompt",
    "here are my instructions",
    "Here are my instructions",
    "I was instructed to",
    "the system prompt says",
    "The system prompt says",
];

/// Countries with IBANs; their lengths are in `number`.
pub const COUNTRIES: &[&str] = &[
    "AD", "AE", "AL", "AT", "AZ", "BA", "BE", "BG", "BH", "BI", "BR", "BY", "CH", "CR", "CY", "CZ",
    "DE", "DJ", "DK", "DO", "EE", "EG", "ES", "FI", "FK", "FO", "FR", "GB", "GE", "GI", "GL", "GR",
    "GT", "HN", "HR", "HU", "IE", "IL", "IQ", "IS", "IT", "JO", "KW", "KZ", "LB", "LC", "LI", "LT",
    "LU", "LV", "LY", "MC", "MD", "ME", "MK", "MN", "MR", "MT", "MU", "NI", "NL", "NO", "OM", "PK",
    "PL", "PS", "PT", "QA", "RO", "RS", "RU", "SA", "SC", "SD", "SE", "SI", "SK", "SM", "SO", "ST",
    "SV", "TL", "TN", "TR", "UA", "VA", "VG", "XK", "YE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_names_need_no_escape_in_json() {
        for rule in RULES.iter().copied().flatten() {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            assert!(rule.mark.bytes().all(plain) && rule.id.bytes().all(plain), "{}", rule.id);
            assert!(!rule.literals.is_empty(), "{}", rule.id);
        }
    }

    #[test]
    fn no_pattern_is_longer_than_what_is_kept() {
        let longest = |form: &Form| match form {
            Form::Parts(parts, _) => parts
                .iter()
                .map(|part| match part {
                    Run(_, _, most) => *most,
                    Exact(_, exact) => *exact,
                    Says(words) => words.len(),
                })
                .sum(),
            _ => 0,
        };
        for rule in RULES.iter().copied().flatten() {
            assert!(longest(&rule.form) < crate::base::limit::GUARD_FIND_BYTES_MAX, "{}", rule.id);
        }
    }
}
