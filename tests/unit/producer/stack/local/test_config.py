import shlex
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser, expand

from producer.stack.local.supervisor import config_text, quoted
from producer.stack.programs import Program, process_names

WORDS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\x85"),
    min_size=1,
)


def parsed(text: str) -> UnhosedConfigParser:
    parser = UnhosedConfigParser()
    parser.read_string(text)
    return parser


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_a_command_reaches_the_process_as_it_was_given(words):
    text = config_text(Path("/tmp/s"), [("a-1", Program("a", ("run", *words)))])
    line = parsed(text).get("program:a-1", "command")
    assert shlex.split(expand(line, {}, "command")) == ["run", *words]


def test_quoting_leaves_plain_words_as_they_are():
    assert quoted("/usr/bin/python3.11") == "/usr/bin/python3.11"
    assert quoted("-dir=data/x") == "-dir=data/x"


def test_each_process_has_a_section_and_knows_its_name():
    program = Program("preprocess", ("run",), {"OMP_NUM_THREADS": "1"}, stop_seconds=7)
    names = process_names(program, {"preprocess": 2})
    assert names == ["preprocess-1", "preprocess-2"]
    parser = parsed(config_text(Path("/tmp/s"), [(name, program) for name in names]))
    section = dict(parser.items("program:preprocess-2"))
    assert section["environment"] == 'OMP_NUM_THREADS="1",HEADRACE_PROCESS="preprocess-2"'
    assert section["stopwaitsecs"] == "7"
    assert section["stdout_logfile"] == "logs/preprocess-2.log"
    assert section["autostart"] == "false"


def test_what_does_not_scale_is_named_like_its_role():
    assert process_names(Program("valkey", ("v",), is_role=False), {"preprocess": 2}) == ["valkey"]
    assert process_names(Program("preprocess", ("p",)), {"preprocess": 0}) == []
