#!/usr/bin/env bash
# What a real systemd in a container, the traces, the shells' completions and another character set need, where it is missing and can be installed: Debian or Ubuntu, as root.
set -euo pipefail
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v systemd-nspawn && command -v dbus-daemon && command -v jq && command -v strace && command -v zsh && command -v fish && command -v groff && [ -e /usr/share/i18n/charmaps/ISO-8859-1.gz ]; } >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends systemd systemd-container dbus jq strace zsh fish groff-base locales >/dev/null
fi
