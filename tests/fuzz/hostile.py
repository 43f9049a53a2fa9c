"""Hostile text for the targets: random, almost right, and what has hurt some parser before. REGRESSIONS never shrinks."""

from __future__ import annotations

from hypothesis import strategies as st

KIB4 = 4096
ALPHABET = "0123456789*/,-LW#?HFRIJAN~+@()xTZ:. \t"
CRON_WORDS = (
    "* */5 0 59 1-5 5-1 0/15 1-1/2 L LW L-3 15W 31W 5L FRI#2 FRI#L ? +MON H H(0-29)/10 H/7 0~59 @daily @every @reboot ,".split()
)
HUGE = "9" * 4000

REGRESSIONS: dict[str, list[str]] = {
    "cron": [
        "",
        "0 0 31 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 30 2 */7",
        "0 0 29 2 */7",
        "*/5 2 8-14 3 */7",
        "* * * * * *",
        "0 0 0 1 1 ? 1970",
        "0 0 0 29 2 ? 2199",
        "0 0 31W 2 *",
        "0 0 L-30 2 *",
        "0 0 * * MON#5",
        "0 0 1 1 MON#L",
        f"{HUGE} * * * *",
        f"*/{HUGE} * * * *",
        f"{','.join(['*'] * 2000)} * * * *",
        f"{','.join(['0-59/1'] * 600)} * * * *",
        "0 0 * * FRI#" + HUGE,
        "H(" * 1000 + ")" * 1000 + " * * * *",
        "0~" * 1000 + "0 * * * *",
        "@every " + HUGE + "s",
        "\u0661 * * * *",  # an Arabic digit, which int() would read
        "\x00 * * * *",
        "0 0 * * \udc80",  # half a character, as a file system may hand it out
        "\u2028".join("*****"),
    ],
    "duration": ["", HUGE, f"{HUGE}s", f"{'9' * 10}w" * 400, "\u0661m", "-1m", "1e9", "1h" * 2000, "PT" + "5M" * 2000],
    "instant": [
        "",
        "0001-01-01",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59",
        "2026-02-30",
        "2026-01-01T24:00",
        "2026-01-01T00:00:60",
        "2026-01-01T00:00+99:99",
        "2011-12-30T12:00",
        "\u0662026-01-01",
        f"{HUGE}-01-01",
    ],
    "recurrence": ["", "cron", "every", "at", "0 0", f"{HUGE} {HUGE}", "1," * 2000 + "1", "99999999999 0", "cron @reboot", "-"],
    "cron_words": ["", "/etc/passwd", "../../etc/passwd", "posix/UTC", "localtime", "Europe/" * 600, "\x00", "\udc80", "UTC\n"],
}

BAD_FILES: list[bytes] = [
    b"",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00",
    b"a" * 100_000,
    b"a = " + b"9" * 5000,
    b"a = 0x" + b"f" * 5000,
    b'[entries.x]\ncron = "0 4 * * *"\ngrace = 0x' + b"f" * 5000,
    b"[entries.x]\nevery = " + b"9" * 5000,
    b"[entries.x]\nevery = 0x" + b"f" * 5000,
    b"[entries.x]\ncron = 0x" + b"f" * 5000,
    b"timezone = 0x" + b"f" * 5000,
    b'[entries.x]\ncron = "0 4 * * *"\nkwargs = { n = 0x' + b"f" * 5000 + b" }",
    b'[entries.x]\ncron = "0 4 * * *"\nkwargs = { n = nan, m = inf, d = 2026-01-01, t = 12:00:00 }',
    b"a = " + b"[" * 5000 + b"]" * 5000,
    b"a = " + b"[" * 300 + b"]" * 300,
    b"a = " + b"{b=" * 500 + b"1" + b"}" * 500,
    b"[" + b".".join([b"a"] * 3000) + b"]",
    b"[entries." + b".".join([b"a"] * 400) + b"]\ncron = 1",
    b"[entries]\nx = 1\n[entries.y]\n[[entries.z]]",
    b'[entries."\\u0000"]\ncron = "0 4 * * *"',
    b'[entries."a/../../b"]\ncron = "0 4 * * *"',
    b'[entries."' + b"x" * 5000 + b'"]\ncron = "0 4 * * *"',
    b'timezone = ""\nproject = ""\ntask_prefix = ""',
    b'timezone = "Europe/Sofia"\n[entries.x]\nat = 0001-01-01T00:00:00+23:59\n',
    b'[entries.x]\nat = [9999-12-31T23:59:59-23:59, 2026-01-01, 12:00:00, "x", 1, []]\n',
    b'[routes]\n"" = ""\n"*" = 1\n"[" = "q"\n"' + b"*a" * 2000 + b'" = "q"',
    b'[defaults]\ncatch_up = 1\ngrace = "x"\noverlap = []\njitter = {}',
    b"[broker]\ndefault_queue = 1\n[directories]\nhourly = 1\nnever = 2",
]

texts = st.one_of(
    st.text(max_size=KIB4),
    st.text(alphabet=ALPHABET, max_size=KIB4),
    st.lists(st.one_of(st.sampled_from(CRON_WORDS), st.text(alphabet=ALPHABET, max_size=8)), max_size=8).map(" ".join),
    st.builds(lambda item, times: f"{','.join([item] * times)} * * * *", st.sampled_from(CRON_WORDS), st.integers(0, 1000)),
    st.builds(
        "{}-{}-{}T{}:{}{}".format, *[st.text("0123456789", max_size=5)] * 5, st.sampled_from(["", "Z", "+02:00", "-99:99"])
    ),
    st.lists(st.builds("{}{}".format, st.integers(), st.sampled_from("wdhms")), max_size=6).map("".join),
)

_KEYS = (
    "project timezone task_prefix env_file broker default_queue routes directories defaults entries calendars cron every at "
    "offset solar rrule except workday jitter grace catch_up overlap max_runtime expires starts_at ends_at enabled task "
    "command args kwargs queue priority headers description timeout holidays"
).split()
_values: st.SearchStrategy[str] = st.recursive(
    st.one_of(
        st.integers().map(str),
        st.sampled_from(["true", "nan", "-inf", "2026-01-01", "12:00:00", "2026-03-08T02:30:00", "0001-01-01T00:00:00+23:59"]),
        texts.map(lambda text: '"' + "".join(f"\\U{min(ord(c), 0xD7FF):08x}" for c in text[:200]) + '"'),
        st.sampled_from(
            ['"45m"', '"30 4 * * mon"', '"latest"', '"Europe/Sofia"', '"H(0-29)/10 * * * *"', '"0 0 31 2 *"', '"10%"']
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda many: f"[{', '.join(many)}]"),
        st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)
_heads = st.sampled_from(
    ["", *(f"[{key}]" for key in _KEYS), "[entries.x]", "[entries.search_dates]", "[calendars.bg]", "[[entries.y]]"]
)
_tables = st.builds(
    lambda head, rows: "\n".join([head, *(f"{key} = {value}" for key, value in rows.items())]),
    _heads,
    st.dictionaries(st.sampled_from(_KEYS), _values, max_size=6),
)
files: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=KIB4),
    st.lists(_tables, max_size=5).map(lambda tables: "\n".join(tables).encode()),
)
