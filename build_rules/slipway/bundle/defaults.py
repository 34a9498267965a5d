"""Defaults of a bundle that `tailor` compares an application with."""

from __future__ import annotations

BUILD_SOURCES = (
    "src/**",
    "build/**",
    "*.js",
    "*.cjs",
    "*.mjs",
    "*.ts",
    "tsconfig*.json",
    ".babelrc*",
    ".browserslistrc",
    ".postcssrc*",
)
BUILD_OUTPUTS = ("dist",)
