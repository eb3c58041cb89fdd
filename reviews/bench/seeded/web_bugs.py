"""Bugs in JavaScript, TypeScript and Go: (rules that tell it, code with a § on the line that is told)."""

# ruff: noqa: E501  (a row is one bug)

BUGS = (
    ("eslint/no-const-assign", "export function count() {\n  const seen = 0;\n  seen = 1;§\n  return seen;\n}\n"),
    ("eslint/use-isnan", "export function isBad(value) {\n  return value === NaN;§\n}\n"),
    ("eslint/valid-typeof", "export function isText(value) {\n  return typeof value === 'strnig';§\n}\n"),
    ("eslint/no-dupe-keys", "export const colours = {\n  red: 1,\n  green: 2,\n  red: 3,§\n};\n"),
    ("eslint/no-cond-assign", "export function same(a, b) {\n  if (a = b) {§\n    return true;\n  }\n  return false;\n}\n"),
    ("eslint/no-debugger", "export function stop(a) {\n  debugger;§\n  return a;\n}\n"),
    ("eslint/no-unreachable", "export function early(a) {\n  return a;\n  a.close();§\n}\n"),
    ("eslint/no-self-assign", "export function keep(a) {\n  a.name = a.name;§\n  return a;\n}\n"),
    ("eslint/no-duplicate-case", "export function kind(a) {\n  switch (a) {\n    case 1:\n      return 'x';\n    case 1:§\n      return 'y';\n  }\n}\n"),
    ("eslint/no-dupe-else-if", "export function pick(a) {\n  if (a === 1) {\n    return 1;\n  } else if (a === 1) {§\n    return 2;\n  }\n}\n"),
    ("eslint/no-async-promise-executor", "export function wrap(f) {\n  return new Promise(async (resolve) => {§\n    resolve(await f());\n  });\n}\n"),
    ("eslint/no-eval|eslint/no-implied-eval", "export function calc(text) {\n  return eval(text);§\n}\n"),
    ("eslint/no-sparse-arrays", "export const list = [1, , 3];§\n"),
    ("eslint/no-unsafe-finally", "export function read(f) {\n  try {\n    return f();\n  } finally {\n    return null;§\n  }\n}\n"),
    ("eslint/no-unsafe-negation", "export function without(a, b) {\n  return !a in b;§\n}\n"),
    ("eslint/no-compare-neg-zero", "export function isZero(a) {\n  return a === -0;§\n}\n"),
    ("eslint/no-invalid-regexp", "export const pattern = new RegExp('(');§\n"),
    ("eslint/for-direction", "export function loop(n) {\n  for (let i = 0; i < n; i--) {§\n    console.log(i);\n  }\n}\n"),
    ("eslint/no-this-before-super", "export class B extends Object {\n  constructor() {§\n    this.a = 1;\n    super();\n  }\n}\n"),
    ("eslint/constructor-super", "export class C extends Object {\n  constructor() {§\n    console.log('made');\n  }\n}\n"),
    ("eslint/no-dupe-class-members|oxlint/syntax", "export class D {\n  run() {\n    return 1;\n  }\n\n  run() {§\n    return 2;\n  }\n}\n"),
    ("eslint/no-obj-calls", "export const pi = Math();§\n"),
    ("eslint/no-func-assign", "export function made() {\n  return 1;\n}\nmade = null;§\n"),
    ("eslint/no-constant-binary-expression|oxc/.*", "export function fallback(a) {\n  return { ...a } ?? null;§\n}\n"),
    ("eslint/no-unsafe-optional-chaining", "export function name(a) {\n  return (a?.b).name;§\n}\n"),
    ("eslint/no-loss-of-precision", "export const big = 9007199254740993;§\n"),
    ("eslint/no-setter-return", "export const box = {\n  set size(value) {\n    return value;§\n  },\n};\n"),
    ("oxc/missing-throw", "export function fail(text) {\n  new Error(text);§\n}\n"),
    ("oxc/const-comparisons|oxc/.*", "export function between(a) {\n  return a > 10 && a < 5;§\n}\n"),
    ("oxc/bad-comparison-sequence", "export function range(a, b, c) {\n  return a < b < c;§\n}\n"),
    ("oxc/bad-min-max-func", "export function clamp(a) {\n  return Math.min(Math.max(100, a), 0);§\n}\n"),
    ("oxlint/syntax", "export function broken(a {§\n  return a;\n}\n"),
    ("unicorn/no-await-in-promise-methods", "export async function both(a, b) {\n  return Promise.all([await a(), b()]);§\n}\n"),
    ("switchyard/js-exec-template", "const { exec } = require('child_process');\nexport function list(folder) {\n  exec(`ls ${folder}`);§\n}\n"),
    ("switchyard/js-inner-html", "export function show(box, name) {\n  box.innerHTML = `<b>${name}</b>`;§\n}\n"),
    ("switchyard/js-sql-template", "export function find(db, name) {\n  return db.query(`SELECT * FROM users WHERE name = '${name}'`);§\n}\n"),
    ("switchyard/js-tls-off", "export const options = {\n  rejectUnauthorized: false,§\n};\n"),
    ("switchyard/js-random-secret", "export function invite() {\n  const token = Math.random().toString(36);§\n  return token;\n}\n"),
    ("switchyard/js-async-foreach", "export function saveAll(items, save) {\n  items.forEach(async (item) => {§\n    await save(item);\n  });\n}\n"),
    ("switchyard/js-document-write", "export function write(name) {\n  document.write(`<b>${name}</b>`);§\n}\n"),
)  # fmt: skip

CLEAN = (
    "export function count() {\n  let seen = 0;\n  seen = 1;\n  return seen;\n}\n",
    "export function isBad(value) {\n  return Number.isNaN(value);\n}\n",
    "export function isText(value) {\n  return typeof value === 'string';\n}\n",
    "export const colours = {\n  red: 1,\n  green: 2,\n  blue: 3,\n};\n",
    "export function same(a, b) {\n  if (a === b) {\n    return true;\n  }\n  return false;\n}\n",
    "export function wrap(f) {\n  return new Promise((resolve) => {\n    resolve(f());\n  });\n}\n",
    "export async function saveAll(items, save) {\n  for (const item of items) {\n    await save(item);\n  }\n}\n",
    "export async function saveTogether(items, save) {\n  await Promise.all(items.map(async (item) => save(item)));\n}\n",
    "const { execFile } = require('child_process');\nexport function list(folder) {\n  execFile('ls', ['--', folder]);\n}\n",
    "export function show(box, name) {\n  box.textContent = name;\n}\n",
    "export function find(db, name) {\n  return db.query('SELECT * FROM users WHERE name = $1', [name]);\n}\n",
    "export function invite(crypto) {\n  const token = crypto.randomUUID();\n  return token;\n}\n",
    "export function dice() {\n  const face = Math.floor(Math.random() * 6);\n  return face;\n}\n",
    "export function fail(text) {\n  throw new Error(text);\n}\n",
    "export function clamp(a) {\n  return Math.max(Math.min(100, a), 0);\n}\n",
    "export const matcher = /ab+c/u;\nexport const run = (text) => matcher.exec(`${text}`);\n",
    "export class Timer {\n  #at = 0;\n\n  start() {\n    this.#at = Date.now();\n    return this.#at;\n  }\n}\n",
    "export function name(a) {\n  return a?.b?.name ?? 'nobody';\n}\n",
    "// Only a note.\n",
    "export function* ids() {\n  let at = 0;\n  while (true) {\n    yield at++;\n  }\n}\n",
    "export const tokenName = 'csrfToken';\nexport const apiKeyHeader = 'x-api-key';\n",
    "export function kind(a) {\n  switch (a) {\n    case 1:\n      return 'x';\n    default:\n      return 'y';\n  }\n}\n",
)  # fmt: skip

GO_BUGS = (
    ("switchyard/go-tls-off", "func insecure() *tls.Config {\n\treturn &tls.Config{InsecureSkipVerify: true}§\n}\n"),
    ("switchyard/go-random-secret", "func invite() int {\n\ttoken := rand.Intn(1000000)§\n\treturn token\n}\n"),
    (
        "switchyard/go-sql-sprintf",
        "func find(db *sql.DB, name string) (*sql.Rows, error) {\n"
        "\treturn db.Query(fmt.Sprintf(\"SELECT id FROM users WHERE name = '%s'\", name))§\n}\n",
    ),
    (
        "switchyard/go-shell-sprintf",
        'func list(folder string) error {\n\treturn exec.Command("sh", "-c", fmt.Sprintf("ls %s", folder)).Run()§\n}\n',
    ),
)
GO_CLEAN = (
    "func secure() *tls.Config {\n\treturn &tls.Config{MinVersion: tls.VersionTLS13}\n}\n",
    "func dice() int {\n\tface := rand.Intn(6)\n\treturn face\n}\n",
    'func find(db *sql.DB, name string) (*sql.Rows, error) {\n\treturn db.Query("SELECT id FROM users WHERE name = $1", name)\n}\n',
    'func list(folder string) error {\n\treturn exec.Command("ls", "--", folder).Run()\n}\n',
)
TSX_BUGS = (
    (
        "switchyard/js-dangerous-html",
        "export function Bio(props: { html: string }) {\n"
        "  return <div dangerouslySetInnerHTML={{ __html: props.html }} />;§\n}\n",
    ),
    ("react/jsx-no-duplicate-props", 'export function Twice() {\n  return <input name="a" name="b" />;§\n}\n'),
    ("react/void-dom-elements-no-children", "export function Line() {\n  return <br>text</br>;§\n}\n"),
    ("typescript/no-duplicate-enum-values", "export enum Size {\n  Small = 1,\n  Large = 1,§\n}\n"),
    ("typescript/no-misused-new", "export interface Made {\n  constructor(): void;§\n}\n"),
)
TSX_CLEAN = (
    "export function Bio(props: { text: string }) {\n  return <div>{props.text}</div>;\n}\n",
    "export function Safe(props: { html: string }) {\n"
    "  return <div dangerouslySetInnerHTML={{ __html: sanitize(props.html) }} />;\n}\n",
    "export enum Size {\n  Small = 1,\n  Large = 2,\n}\n",
    "export type Name<T> = T extends string ? T : never;\n",
    'export function Field() {\n  return <input name="a" aria-label="A" />;\n}\n',
)
