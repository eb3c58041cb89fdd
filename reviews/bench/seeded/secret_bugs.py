"""Secrets, made of random letters as they are asked for: (rules that tell it, path, code with a § on the line)."""

# ruff: noqa: E501  (a row is one bug)

import string

from reviews.bench.seeded.case import letters

_ALL = string.ascii_letters + string.digits
_LOWER = string.ascii_lowercase + string.digits
_UPPER = string.ascii_uppercase + string.digits
_HEX = "0123456789abcdef"


def bugs(n: int) -> tuple[tuple[str, str, str], ...]:
    """n: another n makes other secrets."""

    def some(kind: str, count: int, alphabet: str = _ALL) -> str:
        return letters(f"{kind} {n}", count, alphabet)

    key = "\n".join(some(f"pem {row}", 64, _ALL + "+/") for row in range(4))
    pem = f'PEM = """-----BEGIN {"RSA "}PRIVATE KEY-----§\n{key}\n-----END {"RSA "}PRIVATE KEY-----"""\n'
    return (
        ("secret/aws-key", "shop/aws.py", f'KEY = "{"AKIA"}{some("aws", 16, _UPPER)}"§\n'),
        ("secret/github-token", "shop/gh.py", f'AUTH = "{"ghp_"}{some("gh", 36)}"§\n'),
        ("secret/github-token", "src/gh.ts", f'export const auth = "{"github_pat_"}{some("pat", 82)}";§\n'),
        ("secret/gitlab-token", "deploy/ci.yml", f"variables:\n  CI: {'glpat-'}{some('gl', 20)}§\n"),
        ("secret/slack-token", "src/notify.js", f'const hook = "{"xoxb-"}{some("s1", 12, string.digits)}-{some("s2", 24, _LOWER)}";§\n'),
        ("secret/stripe-key", "pay/keys.rb", f'KEY = "{"sk_live_"}{some("st", 24)}"§\n'),
        ("secret/google-api-key", "web/maps.js", f'export const key = "{"AIza"}{some("goog", 35)}";§\n'),
        ("secret/npm-token", ".npmrc", f"//registry.npmjs.org/:_authToken={'npm_'}{some('npm', 36)}§\n"),
        ("secret/sendgrid-key", "mail/send.go", f'package mail\n\nconst key = "{"SG."}{some("g1", 22)}.{some("g2", 43)}"§\n'),
        ("secret/anthropic-key", "ai/client.py", f'KEY = "{"sk-ant-"}api03-{some("ant", 40)}"§\n'),
        ("secret/openai-key", "ai/openai.py", f'KEY = "{"sk-proj-"}{some("oai", 48)}"§\n'),
        ("secret/huggingface-token", "ai/hub.py", f'KEY = "{"hf_"}{some("hf", 34)}"§\n'),
        ("secret/digitalocean-token", "infra/main.tf", f'do = "{"dop_v1_"}{some("do", 64, _HEX)}"§\n'),
        ("secret/private-key", "shop/keys.py", pem),
        ("secret/password-in-url", "shop/db.py", f'DSN = "postgres://shop:{some("dsn", 14)}@db.shop.internal:5432/shop"§\n'),
        ("secret/named-secret|S10[56]", "shop/conf.py", f'DB_PASSWORD = "{some("pw", 14)}1!"§\n'),
        ("secret/named-secret|S10[56]", "shop/api.py", f'api_key = "{some("key", 32, _HEX)}"§\n'),
        ("secret/named-secret", "config/app.yml", f"app:\n  client_secret: {some('cs', 40)}§\n"),
        ("secret/named-secret", "config/live.env", f"API_TOKEN={some('env', 40)}§\n"),
        ("secret/named-secret", "src/conf.ts", f'export const config = {{ accessKey: "{some("ak", 36)}" }};§\n'),
        ("secret/telegram-token", "bot/main.py", f'BOT = "{some("t1", 9, "123456789")}:AA{some("t2", 33)}"§\n'),
    )  # fmt: skip


def clean(n: int) -> tuple[tuple[str, str], ...]:
    """What looks like a secret and is none."""

    def some(kind: str, count: int, alphabet: str = _ALL) -> str:
        return letters(f"clean {kind} {n}", count, alphabet)

    return (
        ("shop/aws.py", 'KEY = os.environ["AWS_ACCESS_KEY_ID"]\n'.replace("KEY", "import os\n\nKEY", 1)),
        ("shop/version.py", f'COMMIT = "{some("sha", 40, _HEX)}"\n'),
        ("config/app.yml", "app:\n  client_secret: ${CLIENT_SECRET}\n"),
        ("config/live.env", "API_TOKEN=\nAPI_PASSWORD=changeme\n"),
        ("src/conf.ts", 'export const config = { accessKey: process.env.ACCESS_KEY, tokenUrl: "/oauth/token" };\n'),
        ("docs/start.md", f"Set `API_KEY={some('doc', 32)}` first.\n"),
        ("tests/test_login.py", f'PASSWORD = "{some("test", 12)}1!"\n'),
        ("k8s/app.yml", "env:\n  - name: PASSWORD\n    valueFrom:\n      secretKeyRef:\n        name: shop-secrets\n        key: password\n"),
        ("shop/hashes.py", f'SHA256 = "{some("hash", 64, _HEX)}"\n'),
        ("src/icons.ts", f'export const icon = "data:image/png;base64,{some("png", 120)}";\n'),
        ("shop/names.py", 'PASSWORD_FIELD = "new_password"\nTOKEN_HEADER = "X-Auth-Token"\n'),
        ("requirements/lock.txt", f"shop==1.0 --hash=sha256:{some('pin', 64, _HEX)}\n"),
        ("config/db.yml", 'url: "postgres://shop:${DB_PASSWORD}@db/shop"\n'),
        ("src/uuid.ts", 'export const id = "7d44b1f0-9a6e-4a2b-8f3c-0d9f7b5a1c2e";\n'),
    )  # fmt: skip
