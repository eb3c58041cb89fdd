"""Definitions and uses of names, in each language, and sources that were made to hurt."""

import pytest

from reviews.code import chunks, languages, symbols
from reviews.code.languages import Entry
from reviews.code.parsing import NotParsed, Parser, parser
from reviews.paths import PathPatterns

SOURCES = {
    "python": """
from shop.prices import (total as t, tax)
import shop.stock
class Cart(Base):
    @cached
    def add(self, item: int = 1,
            *, gift) -> str:
        self.check(item)
        def inner(): return tax(1)
""",
    "javascript": """
import prices, {tax as t} from './prices.js'
const {h} = require("k")
class Cart extends Base { add(item) { this.check(item); new Line() } }
const total = async (a, b) => { tax(a) }
""",
    "typescript": """
import { tax } from './prices'
export interface Priced { price(n: number): string }
export abstract class Cart<T> extends Base implements Priced { add(x: T): void { this.check(x); new Line() } }
export function total<T>(a: T, b?: number): T { return tax<T>(a) as T }
""",
    "tsx": """
import { tax } from './prices'
export class Cart extends Base { add(x: T): void { this.check(x) } }
export const Total: FC<P> = ({a}) => <Line a={tax(a)}/>
""",
    "go": """package shop
import h "net/http"
type Cart struct { a int }
func (c *Cart[T]) Add(x int) (int, error) { return c.check(x), h.Get("x") }
func Total(x int) int { return tax(x) }
""",
    "java": """package shop;
import java.util.List;
public class Cart<T> extends Base implements Priced {
  public Cart(int x) { tax(x); }
  @Override public <R> List<R> add(final int a, String... b) throws E { this.check(a); return new Line(a); }
}
""",
    "rust": """use shop::prices::tax;
pub struct Cart<T> { a: T }
impl<T> Cart<T> { pub fn add(a: T) -> Self { tax(a); self.check(); Line::make(1); Cart { a } } }
mod inner { pub fn total() {} }
""",
    "ruby": """
module Shop
  class Cart < Base
    def add(a, b = 1)
      tax(a); self.check(b)
    end
  end
end
""",
    "c": """#include "shop/prices.h"
#define TWICE(a) ((a)*2)
struct cart { int a; };
static char *add(struct cart *c, int x) { return tax(x, c->check(x)); }
int total(int x);
""",
    "cpp": """#include <vector>
namespace shop { class Cart : public Base { public: virtual int add(int y) const { return tax(y); } void drop(); }; }
void shop::Cart::drop() { this->check(1); new Line(1); shop::prices::total(2); }
""",
    "bash": """source ./prices.sh
add() { tax "$1"; echo done; }
function total { add x; }
""",
}
DEFINED = {
    "python": ["Cart", "Cart.add", "Cart.add.inner"],
    "javascript": ["Cart", "Cart.add", "total"],
    "typescript": ["Priced", "Priced.price", "Cart", "Cart.add", "total"],
    "tsx": ["Cart", "Cart.add", "Total"],
    "go": ["Cart", "Cart.Add", "Total"],
    "java": ["Cart", "Cart.Cart", "Cart.add"],
    "rust": ["Cart", "Cart.add", "inner.total"],
    "ruby": ["Shop", "Shop.Cart", "Shop.Cart.add"],
    "c": ["TWICE", "cart", "add", "total"],
    "cpp": ["shop.Cart", "shop.Cart.add", "shop.Cart.drop", "shop.Cart.drop"],
    "bash": ["add", "total"],
}
#: (enclosing definition, receiver, name)
USED = {
    "python": [("", "shop.prices", "tax"), ("", "shop", "stock"), ("Cart", "", "Base"), ("Cart.add", "self", "check"),
               ("Cart.add.inner", "", "tax")],
    "javascript": [("", "./prices.js", "tax"), ("", "k", "h"), ("Cart", "", "Base"), ("Cart.add", "this", "check"),
                   ("Cart.add", "", "Line"), ("total", "", "tax")],
    "typescript": [("", "./prices", "tax"), ("Cart", "", "Priced"), ("Cart.add", "this", "check"),
                   ("Cart.add", "", "Line"), ("total", "", "tax")],
    "tsx": [("", "./prices", "tax"), ("Cart.add", "this", "check"), ("Total", "", "Line"), ("Total", "", "tax")],
    "go": [("", "net", "http"), ("Cart.Add", "c", "check"), ("Cart.Add", "h", "Get"), ("Total", "", "tax")],
    "java": [("", "java.util", "List"), ("Cart", "", "Base"), ("Cart", "", "Priced"), ("Cart.Cart", "", "tax"),
             ("Cart.add", "this", "check"), ("Cart.add", "", "Line")],
    "rust": [("", "shop::prices", "tax"), ("Cart.add", "", "tax"), ("Cart.add", "self", "check"),
             ("Cart.add", "Line", "make")],
    "ruby": [("Shop.Cart", "", "Base"), ("Shop.Cart.add", "", "tax"), ("Shop.Cart.add", "self", "check")],
    "c": [("", "shop", "prices.h"), ("add", "", "tax"), ("add", "c", "check")],
    "cpp": [("shop.Cart", "", "Base"), ("shop.Cart.add", "", "tax"), ("shop.Cart.drop", "this", "check"),
            ("shop.Cart.drop", "", "Line"), ("shop.Cart.drop", "shop::prices", "total")],
    "bash": [("", ".", "prices.sh"), ("add", "", "tax"), ("total", "", "add")],
}  # fmt: skip


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_definitions_and_uses_are_found(language: str):
    parsed = symbols.parse(language, SOURCES[language].encode())

    assert not parsed.is_partial
    assert [one.qualified_name for one in parsed.symbols] == DEFINED[language]
    found = [(one.enclosing, one.receiver, one.name) for one in parsed.references]
    assert [one for one in USED[language] if one not in found] == []
    assert "echo" not in [one.name for one in parsed.references]


def test_a_signature_is_what_stands_before_the_body_on_one_line():
    parsed = symbols.parse("python", SOURCES["python"].encode())
    assert parsed.symbols[1].signature == "def add(self, item: int = 1, *, gift) -> str"
    assert (parsed.symbols[1].line, parsed.symbols[1].end_line) == (6, 9)

    java = symbols.parse("java", SOURCES["java"].encode())
    assert java.symbols[2].signature == "@Override public <R> List<R> add(final int a, String... b) throws E"


def test_a_source_that_does_not_parse_gives_what_can_be_read_of_it():
    parsed = symbols.parse("python", b"def good(a):\n    pass\n\ndef bad(:\n")

    assert parsed.is_partial
    assert "good" in [one.qualified_name for one in parsed.symbols]


def test_a_name_with_a_nul_or_broken_utf_8_can_be_kept():
    parsed = symbols.parse("javascript", b'import x from "a\x00\xffb"\n')

    assert all("\x00" not in one.receiver and one.receiver.encode() for one in parsed.references)


@pytest.fixture(scope="module")
def reading():
    with parser() as made:
        yield made


def test_the_child_gives_the_same_with_chunks(reading: Parser):
    source = SOURCES["python"].encode()

    parsed = reading.parse("shop/cart.py", source)

    assert list(parsed.symbols) == symbols.parse("python", source).symbols
    assert list(parsed.references) == symbols.parse("python", source).references
    assert parsed.lines == 9
    assert [chunk.suffix for chunk in parsed.chunks] == ["Cart"]


def test_a_header_with_classes_is_read_as_cpp(reading: Parser):
    parsed = reading.parse("cart.h", b"#pragma once\nclass Cart { int add(int x); };\n")

    assert [one.qualified_name for one in parsed.symbols] == ["Cart", "Cart.add"]


@pytest.mark.long
def test_a_source_that_takes_too_long_is_given_up_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("reviews.code.parsing.WAIT_SECONDS", 0.5)
    with parser() as reading:
        with pytest.raises(NotParsed, match="took too long"):
            reading.parse("deep.py", b"(" * 500_000)

        monkeypatch.setattr("reviews.code.parsing.WAIT_SECONDS", 30.0)
        assert reading.parse("good.py", b"def f(): pass\n").symbols[0].name == "f"


@pytest.mark.long
@pytest.mark.parametrize("path", ["a.py", "a.tsx", "a.sh"])
def test_hostile_sources_end_within_the_limits(path: str):
    with parser() as reading:
        for source in (b"(" * 500_000, b"a.b(" * 100_000, bytes(range(256)) * 2000):
            try:
                parsed = reading.parse(path, source)
            except NotParsed:
                continue
            assert len(parsed.references) <= symbols.MAX_REFERENCES
        assert reading.parse(path, b"\n").symbols == ()


def test_the_child_has_no_environment_of_ours_no_network_and_little_memory(
    reading: Parser, monkeypatch: pytest.MonkeyPatch
):
    reading.parse("a.py", b"x = 1\n")
    child = reading._child
    assert child is not None
    with open(f"/proc/{child.pid}/environ", "rb") as file:
        assert b"SECRET" not in file.read().upper()
    with open(f"/proc/{child.pid}/net/dev") as file:
        assert [line.split(":")[0].strip() for line in file if ":" in line] == ["lo"]
    with open(f"/proc/{child.pid}/limits") as file:
        limits = {line[:25].strip(): line[25:].split() for line in file}
    assert int(limits["Max address space"][0]) == 1 << 30
    assert int(limits["Max file size"][0]) == 0


def named(text: str) -> list[tuple[str, int, int]]:
    found = symbols.parse("python", text.encode()).symbols
    return [(one.suffix, one.line, one.end_line) for one in chunks.cut(text, found)]


def test_chunks_are_definitions_with_their_comments_and_what_lies_between():
    text = "import a\nimport b\nimport c\nx = 1\n\n# Adds.\n@deco\ndef f():\n    pass\n\ndef f():\n    return 1\n"

    assert named(text) == [("(between)~1", 1, 4), ("f", 6, 9), ("f~2", 11, 12)]


def test_a_long_class_is_cut_at_its_methods_and_a_long_function_in_parts():
    methods = "".join(f"    def m{number}(self):\n" + "        x = 1\n" * 30 for number in range(3))
    assert named("class C:\n    a = 1\n\n" + methods) == [
        ("C", 1, 3), ("C.m0", 4, 34), ("C.m1", 35, 65), ("C.m2", 66, 96),
    ]  # fmt: skip
    assert named("def f():\n" + "    x = 1\n" * 449) == [("f", 1, 200), ("f~2", 201, 400), ("f~3", 401, 450)]


@pytest.mark.parametrize(
    ("path", "mode", "size", "reason"),
    [
        ("src/a.py", "100644", 10, ""),
        ("src/a.py", "120000", 10, languages.NOT_A_FILE),
        ("lib", "160000", None, languages.NOT_A_FILE),
        ("README.md", "100644", 10, languages.UNKNOWN_LANGUAGE),
        ("web/vendor/jquery.js", "100644", 10, languages.VENDORED),
        ("web/app.min.js", "100644", 10, languages.GENERATED),
        ("api/shop_pb2.py", "100644", 10, languages.GENERATED),
        ("src/a.py", "100644", 1 << 20, languages.TOO_LARGE),
        ("legacy/a.py", "100644", 10, languages.EXCLUDED),
    ],
)
def test_files_that_are_not_read_are_told_with_a_reason(path: str, mode: str, size: int | None, reason: str):
    assert languages.why_not(Entry(mode, "0" * 40, size, path), PathPatterns(("legacy/",))) == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"def f():\n", ""),
        (b"a\x00b", languages.BINARY),
        (b"// Code generated by protoc-gen-go. DO NOT EDIT.\npackage a\n", languages.GENERATED),
        (b"# @generated by tool\n", languages.GENERATED),
        (b"var a=1;" * 2000, languages.GENERATED),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", languages.NOT_STORED),
    ],
)
def test_contents_that_say_nothing_are_left_out(content: bytes, reason: str):
    assert languages.why_not_content(content) == reason
