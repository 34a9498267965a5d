"""A first look at an application's folder, by layouts that are common."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import pytest

from slipway.release.first_build import Folder, bundle_fields, files_to_read, release_fields


def look(
    scripts: Mapping[str, str],
    files: List[str],
    folders: List[str],
    texts: Optional[Mapping[str, str]] = None,
) -> Dict[str, Any]:
    folder = Folder(tuple(files), tuple(folders), texts or {})
    return {**bundle_fields({"scripts": scripts}, folder), **release_fields({"scripts": scripts})}


def test_the_layout_of_the_defaults() -> None:
    scripts = {"build": "node build/build.js", "serve": "exec node service/bin/serve.js"}
    assert look(scripts, ["package.json"], ["build", "service", "src"]) == {}


def test_a_build_script_that_reads_its_arguments() -> None:
    scripts = {"build": "node build/build.js", "serve": "node service"}
    folders = ["build", "service", "src"]
    texts = {"build/build.js": "main(process.argv.slice(2))"}
    assert files_to_read({"scripts": scripts})[0] == "build/build.js"
    assert look(scripts, [], folders, texts) == {"build_args": ("{server_env}",)}


def test_a_server_without_a_build() -> None:
    files = ["config.json", "package.json", "package-lock.json", "server.js", "tsconfig.json"]
    assert look({"start": "node server.js"}, files, ["_helpers", "lib", "test"]) == {
        "build_script": "",
        "runtime_sources": ("*.js", "config.json", "_helpers/**", "lib/**"),
        "run_script": "start",
    }


def test_src_is_the_server_where_nothing_is_built() -> None:
    assert look({"start": "node src"}, [], ["__tests__", "src"]) == {
        "build_script": "",
        "runtime_sources": ("src/**",),
        "run_script": "start",
    }


def test_express_with_typescript() -> None:
    scripts = {"build": "tsc", "start": "node dist/main.js", "dev": "ts-node src/main.ts"}
    files = ["package.json", "tsconfig.json"]
    assert look(scripts, files, ["public", "src"]) == {
        "build_sources": ("public/**", "src/**", "tsconfig*.json"),
        "runtime_sources": ("public/**",),
        "static_dir": "",
        "run_script": "start",
    }


def test_the_out_dir_of_typescript() -> None:
    scripts = {"build": "tsc -p tsconfig.build.json", "start": "node ."}
    texts = {"tsconfig.build.json": '{\n // "outDir": "no",\n  "outDir": "./lib/js" }'}
    fields = look(scripts, ["tsconfig.build.json"], ["src"], texts)
    assert fields["build_outputs"] == ("lib",)


def test_nest() -> None:
    scripts = {
        "build": "nest build",
        "start": "nest start",
        "start:dev": "nest start --watch",
        "start:debug": "nest start --debug --watch",
        "start:prod": "node dist/main",
        "test": "jest",
    }
    files = ["nest-cli.json", "package.json", "tsconfig.build.json", "tsconfig.json", "README.md"]
    assert look(scripts, files, ["src", "test"]) == {
        "build_sources": ("src/**", "tsconfig*.json", "nest-cli.json"),
        "static_dir": "",
        "run_script": "start:prod",
    }


def test_next() -> None:
    scripts = {"dev": "next dev", "build": "next build", "start": "next start", "lint": "next lint"}
    files = ["next.config.ts", "next-env.d.ts", "package.json", "tsconfig.json"]
    assert look(scripts, files, ["app", "public"]) == {
        "build_outputs": (".next",),
        "build_sources": ("app/**", "public/**", "*.ts", "tsconfig*.json"),
        "runtime_sources": ("next.config.ts", "public/**"),
        "static_dir": "",
        "run_script": "start",
    }


def test_next_standalone() -> None:
    scripts = {"build": "next build", "start": "node .next/standalone/server.js"}
    fields = look(scripts, ["next.config.js"], ["pages"])
    assert (fields["build_outputs"], fields["node_modules"]) == ((".next",), "none")


def test_nuxt() -> None:
    scripts = {"build": "nuxt build", "start": "node .output/server/index.mjs"}
    assert look(scripts, ["app.vue", "nuxt.config.ts"], ["server"]) == {
        "build_outputs": (".output",),
        "build_sources": ("server/**", "*.ts", "app.vue"),
        "node_modules": "none",
        "static_dir": "",
        "run_script": "start",
    }


def test_esbuild_writes_one_file() -> None:
    scripts = {
        "build": "esbuild src/index.ts --bundle --platform=node --outfile=out/server.cjs",
        "start": "node out/server.cjs",
    }
    assert look(scripts, ["package.json"], ["src"]) == {
        "build_outputs": ("out",),
        "static_dir": "",
        "run_script": "start",
    }


def test_options_that_name_no_folder_of_the_application() -> None:
    line = "tsc -d && vite build --outDir ../public && esbuild a --outdir=/tmp/x -o $OUT"
    assert look({"build": line}, [], ["src"]) == {"static_dir": ""}
    assert look({"build": "swc src -d lib && tsc -d"}, [], ["src"])["build_outputs"] == ("lib",)


def test_vite_with_a_server_of_its_own() -> None:
    scripts = {
        "build": "npm run build:client && npm run build:server",
        "build:client": "vite build --outDir dist/client",
        "build:server": "vite build --ssr src/entry-server.js --outDir dist/server",
        "serve": "cross-env NODE_ENV=production node server",
    }
    files = ["index.html", "package.json", "server.js", "vite.config.js"]
    assert look(scripts, files, ["public", "src"]) == {
        "build_sources": ("public/**", "src/**", "*.js", "index.html"),
        "runtime_sources": ("*.js", "public/**"),
        "static_dir": "",
    }


def test_nothing_to_guess_from() -> None:
    assert look({"build": "x"}, [], ["src"]) == {"static_dir": ""}


@pytest.mark.parametrize(
    ("scripts", "fields"),
    [
        ({"serve": "node a", "start": "node b"}, {}),
        ({"start": "node a"}, {"run_script": "start"}),
        ({"serve": "vite preview", "start": "node a"}, {"run_script": "start"}),
        ({"start:dev": "node a"}, {}),
        ({}, {}),
    ],
)
def test_what_runs_in_the_foreground(scripts: Dict[str, str], fields: Dict[str, Any]) -> None:
    assert release_fields({"scripts": scripts}) == fields


def test_scripts_that_are_not_an_object_are_ignored() -> None:
    assert bundle_fields({"scripts": []}, Folder((), ("service",))) == {"build_script": ""}


def test_a_member_of_workspaces_names_their_lockfile_and_what_its_configuration_extends() -> None:
    texts = {"tsconfig.json": '{\n  "extends": "../../config/base.json"\n}\n'}
    folder = Folder(
        ("package.json", "tsconfig.json"),
        ("src",),
        texts,
        path="shop/apps/web",
        lockfile="shop/package-lock.json",
    )
    fields = bundle_fields({"scripts": {"build": "tsc", "start": "node dist/main"}}, folder)
    assert fields["lockfile"] == "//shop/package-lock.json"
    assert fields["build_sources"][-1] == "//shop/config/base.json"


@pytest.mark.parametrize(
    "extended", ["./base.json", "@tsconfig/node16/tsconfig.json", "../../../../../x.json"]
)
def test_a_configuration_that_extends_nothing_above_the_member(extended: str) -> None:
    texts = {"tsconfig.json": f'{{\n  "extends": "{extended}"\n}}\n'}
    folder = Folder((), (), texts, path="shop/apps/web", lockfile="shop/package-lock.json")
    fields = bundle_fields({"scripts": {"build": "tsc", "start": "node dist/main"}}, folder)
    assert "build_sources" not in fields
