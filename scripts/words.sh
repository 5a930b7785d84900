#!/usr/bin/env bash
# English that this project does not use: words of a list, and documentation that begins with a question.
# CONTRIBUTING.md has the rules. Prints file:line, what was found and what to write instead.
#
#   scripts/words.sh           every file of the project
#   scripts/words.sh PATH...   only these files and folders
#
# A line that quotes such a word, or needs it, says so at its end: `words: allow`, in a comment.

set -euo pipefail
cd "$(dirname "$0")/.."

# Without a repository, as in an unpacked archive, all files but those that were built.
files() {
    if git rev-parse --git-dir &>/dev/null; then
        git ls-files -z --cached --others --exclude-standard -- "$@"
    else
        find "${@:-.}" -type f -not -path '*/target/*' -printf '%p\0'
    fi
}

files "$@" | python3 -c '
import re, sys

# Pattern, and what to write instead. Matched as whole words, whatever the case.
WORDS = [
    (r"anew", "again; re-created, rebuilt, rekeyed"),
    (r"mend(s|ed)?", "fix"),
    (r"who(so)?ever", "the caller, a reader, the thread that"),
    (r"nobody", "no thread, no reader, no caller"),
    (r"(some|every)body", "another process; all readers, every caller"),
    (r"beside", "next to, compared with, while"),
    (r"in vain", "without effect"),
    (r"for ever", "forever, without end"),
    (r"by and by", "eventually"),
    (r"as a rule", "usually"),
    (r"the whole of it", "all of it"),
    (r"is told of", "receives, learns of"),
    (r"stands", "is, is stored, is written"),
    (r"comes? to(?= (the|a|an|its|their|this|that|what|nothing|no|\d))", "equals, reaches"),
    (r"gives? out", "publish"),
    (r"holds? back", "buffer, keep pending"),
]
WORDS = [(re.compile(r"\b(?:%s)\b" % words, re.I), instead) for words, instead in WORDS]

# First words of a question. Of all lines of documentation, this share may begin so.
QUESTION = re.compile(
    r"\s*//[/!]\s*(What|Who|Whose|Whom|Whether|How|Is|Are|May|Does|Do|Can|When|Where|Which|Why|Was|Were|Has|Have"
    r"|Should|Must|Will)\b"
)
SHARE = 0.03

READ = (".rs", ".md", ".json", ".sh", ".toml", ".patch", ".py", ".cjs", "justfile", ".ci/run")
# This list; raw figures, whose names are those of the benchmarks; inputs of tests.
SKIPPED = re.compile(r"scripts/words\.sh|Cargo\.lock|docs/benchmarks/.*\.json|dev/fuzz/corpus/|.*/testdata/")

found = lines_of_docs = 0
questions = []
for path in sys.stdin.read().split("\0"):
    path = path.removeprefix("./")
    if not path.endswith(READ) or SKIPPED.match(path):
        continue
    try:
        text = open(path, encoding="utf-8").read()
    except FileNotFoundError:  # deleted, and not committed yet
        continue
    inside = False
    for number, line in enumerate(text.split("\n"), 1):
        # Only the header of a patch: the rest is code, which is checked where it ships.
        if path.endswith(".patch") and not line.startswith("#"):
            break
        doc = path.endswith(".rs") and re.match(r"\s*//[/!](.*)", line)
        if doc:
            lines_of_docs += 1
            if not inside and QUESTION.match(line):
                questions.append(f"{path}:{number}: {line.strip()}")
        # The first line of a paragraph begins it.
        inside = bool(doc and doc.group(1).strip())
        if "words: allow" in line:
            continue
        for word, instead in WORDS:
            for hit in word.finditer(line):
                found += 1
                print(f"{path}:{number}: \"{hit.group()}\": write {instead}")

if len(questions) > SHARE * lines_of_docs:
    found += 1
    print("\n".join(questions))
    print(
        f"{len(questions)} of {lines_of_docs} lines of documentation begin as a question, more than {SHARE:.0%}: begin"
        " with a noun phrase (types, fields) or a third-person verb (functions)"
    )
if found:
    sys.exit(1)
print(f"no word of the list; {len(questions)} of {lines_of_docs} lines of documentation begin as a question")
'
