"""Files into which bugs are put; they have findings of their own, which are old and not to be told."""

PYTHON = (
    (
        "shop/orders.py",
        '''"""Orders of the shop."""

import logging
import pickle
import subprocess

logger = logging.getLogger(__name__)


class Order:
    def __init__(self, number, items):
        self.number = number
        self.items = items

    def total(self):
        return sum(item.price for item in self.items)


def load(data):
    return pickle.loads(data)


# HERE
def restart(name):
    subprocess.run("systemctl restart " + name, shell=True)
    logger.info("Restarted %s", name)
''',
    ),
    (
        "app/views.py",
        """from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass
class Page:
    title: str
    body: str = ""


def render(page: Page) -> str:
    try:
        return json.dumps({"title": page.title, "body": page.body})
    except TypeError:
        return ""


# HERE
def all_pages(pages: list[Page]) -> list[str]:
    return [render(page) for page in pages]
""",
    ),
)
WEB = (
    (
        "src/cart.ts",
        """import { api } from "./api";

export interface Item {
  name: string;
  price: number;
}

export function total(items: Item[]): number {
  return items.reduce((sum, item) => sum + item.price, 0);
}

// HERE
export async function checkout(items: Item[]): Promise<void> {
  await api.post("/checkout", { items });
}
""",
    ),
    (
        "server/routes.js",
        """const express = require("express");
const router = express.Router();

router.get("/health", (req, res) => {
  res.json({ ok: true });
});

// HERE
router.post("/echo", (req, res) => {
  debugger;
  res.json(req.body);
});

module.exports = router;
""",
    ),
)
GO = """package main

import (
\t"crypto/tls"
\t"database/sql"
\t"fmt"
\t"math/rand"
\t"os/exec"
)

func shuffle(names []string) {
\trand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
}

// HERE
func main() {
\tfmt.Println("ready")
}
"""
SHELL = (
    (
        "scripts/deploy.sh",
        '#!/usr/bin/env bash\nset -euo pipefail\n\nTARGET="${1:?}"\n\n# HERE\necho "done: $TARGET"\n',
    ),
    ("bin/backup", '#!/bin/sh\nset -eu\n\nFOLDER="/var/backups"\n\n# HERE\nls "$FOLDER"\n'),
)
DOCKERFILE = """FROM python:3.12-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
# HERE
COPY . .
USER app
CMD ["python", "-m", "app"]
"""
WORKFLOW = """name: ci
on:
  pull_request:
permissions:
  contents: read
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with:
          persist-credentials: false
      # HERE
      - run: make test
"""
