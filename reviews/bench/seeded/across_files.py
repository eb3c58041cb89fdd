"""Signatures and names that change while their callers stay, and such changes made with all callers."""

# ruff: noqa: E501  (a row is one bug)

from reviews.bench.seeded.case import Case, case

_LIB = '''"""Prices."""


def price(amount, currency):
    return f"{amount} {currency}"


def rounded(amount, digits=2):
    return round(amount, digits)


class Basket:
    limit = 10

    def __init__(self, owner):
        self.owner = owner

    def add(self, item, count):
        return (item, count)

    def clear(self):
        return None
'''
_USE = """from {package}.prices import Basket, price, rounded
from {package} import prices


def bill(owner):
    basket = Basket(owner)
    basket.add("tea", 2)
    basket.clear()
    return price(5, "EUR"), rounded(2.5), rounded(2.5, digits=1), prices.price(7, "USD")
"""

# (what is replaced, by what, rules that tell it); a § marks the line it is told at.
_BREAKS = (
    ("def price(amount, currency):", "def price(amount, currency, locale):§", "ty/missing-argument"),
    ("def price(amount, currency):", "def price(amount):§", "ty/too-many-positional-arguments"),
    ("def price(amount, currency):", "def price(amount, *, currency):§", "ty/missing-argument|ty/too-many-positional-arguments"),
    ("def rounded(amount, digits=2):", "def rounded(amount, places=2):§", "ty/unknown-argument"),
    ("def rounded(amount, digits=2):", "def rounded_to(amount, digits=2):§", "ty/missing-module-member"),
    ("def price(amount, currency):", "def price_of(amount, currency):§", "ty/missing-module-member"),
    ("def __init__(self, owner):", "def __init__(self, owner, shop):§", "ty/missing-argument"),
    ("def __init__(self, owner):\n        self.owner = owner", "def __init__(self):§\n        self.owner = None", "ty/too-many-positional-arguments"),
    ("def add(self, item, count):", "def add(self, item, count, note):§", "ty/missing-argument"),
    ("def add(self, item, count):", "def put(self, item, count):§", "ty/missing-attribute"),
    ("def clear(self):", "def clear(self, reason):§", "ty/missing-argument"),
    ("class Basket:", "class Cart:§", "ty/missing-module-member"),
)  # fmt: skip
_HARMLESS = (
    ("def price(amount, currency):", "def price(amount, currency, locale=None):"),
    ("def rounded(amount, digits=2):", "def rounded(amount, digits=3):"),
    ("def clear(self):", "def clear(self, *, reason=''):"),
    ("    limit = 10\n", "    limit = 20\n"),
    ('return f"{amount} {currency}"', 'return f"{currency} {amount}"'),
    ("def add(self, item, count):", "def add(self, item, count=1, *notes):"),
)


def breaks() -> list[Case]:
    """Each break once in a package at the root, and once below src."""
    made = []
    for package, root in (("shop", ""), ("billing", "src/")):
        base = _tree(package, root)
        for number, (old, new, rules) in enumerate(_BREAKS):
            lib = base[f"{root}{package}/prices.py"].replace(old, new)
            head = {**base, f"{root}{package}/prices.py": lib}
            made.append(_case(f"across {package} {number}", base, head, rules))
    return made


def _case(name: str, base: dict[str, str], head: dict[str, str], rules: str) -> Case:
    """Of a signature that breaks callers in two ways, one finding a rule may come; each is marked once."""
    return case(name, base, head, rules)


def harmless() -> list[Case]:
    made = []
    for package, root in (("shop", ""), ("billing", "src/")):
        base = _tree(package, root)
        lib, use = f"{root}{package}/prices.py", f"{root}{package}/bill.py"
        for number, (old, new) in enumerate(_HARMLESS):
            made.append(Case(f"harmless {package} {number}", base, {**base, lib: base[lib].replace(old, new)}))
        renamed = {path: text.replace("rounded", "rounded_to") for path, text in base.items()}
        made.append(Case(f"renamed with its callers {package}", base, renamed))
        longer = base[lib].replace("amount, currency):", "amount, currency, locale):")
        callers = base[use].replace('"EUR")', '"EUR", "de")').replace('"USD")', '"USD", "us")')
        made.append(Case(f"longer with its callers {package}", base, {**base, lib: longer, use: callers}))
        unused = base[lib].replace("    def clear(self):\n        return None\n", "")
        made.append(Case(f"removed with its callers {package}", base, {**base, lib: unused, use: base[use].replace("    basket.clear()\n", "")}))  # fmt: skip
        gone = {path: text for path, text in base.items() if path != lib} | {f"{root}{package}/tariffs.py": base[lib]}
        moved = {path: text.replace(f"{package}.prices", f"{package}.tariffs").replace("import prices", "import tariffs as prices") for path, text in gone.items()}  # fmt: skip
        made.append(Case(f"moved with its callers {package}", base, moved))
    return made


def _tree(package: str, root: str) -> dict[str, str]:
    return {
        f"{root}{package}/__init__.py": "",
        f"{root}{package}/prices.py": _LIB,
        f"{root}{package}/bill.py": _USE.replace("{package}", package),
        f"{root}{package}/other.py": "import requests\n\n\ndef fetch():\n    return requests.get('x', timeout=5)\n",
    }
