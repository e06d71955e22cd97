#!/bin/sh
# Installs what this machine lacks to build, test and demonstrate Taproot:
#
#   scripts/setup.sh [build] [lab] [guest] [pods] [tests] [servers]
#                                                     (default: all but servers)
#
# `tests` are small clients and servers that only some tests need, `servers` large ones
# (a quarter of a GB); without them these tests are skipped by name.
#
# Says what is missing and why before it installs anything, through apt, as root
# or with sudo. TAPROOT_NO_INSTALL=1 only lists. Quick when nothing is missing.
# Exit code: 0 when the build can go on; what only tests and the lab need is
# reported, and what cannot run is skipped there by name.
set -u
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# group | how to see that it is there | Debian package | what for
WANTED='
build|cc|gcc|C compiler and linker, for the C libraries that are built in
build|/usr/include/stdio.h|libc6-dev|headers and static library of the C library
build|make|make|builds libbpf, libelf and zlib from the sources in the crates
build|clang|clang|compiles the BPF programs
build|llvm-strip|llvm|strips the BPF programs
build|pkg-config|pkg-config|used by the build of libbpf
build|autoconf|autoconf|build of libelf
build|automake|automake|build of libelf
build|libtoolize|libtool|build of libelf
build|autopoint|autopoint|build of libelf
build|flex|flex|build of libelf
build|bison|bison|build of libelf
build|gawk|gawk|build of libelf
lab|ip|iproute2|network namespaces and links of the lab
lab|iptables|iptables|the service address of the lab (DNAT)
lab|nft|nftables|rule changes that the lab injects
lab|conntrack|conntrack|a full connection table, injected by the lab
lab|ethtool|ethtool|offloads of cables that tests switch
lab|sysctl|procps|settings inside namespaces of the lab
lab|nginx|nginx-light|a real web server to observe
lab|redis-server|redis-server|a real cache to observe
lab|ab|apache2-utils|load with an exact number of requests
lab|openssl|openssl|certificates of the measured load inside of TLS
guest|qemu-system-x86_64|qemu-system-x86|virtual machines with the kernels 6.1 and 6.12
guest|busybox|busybox-static|user space of those machines
guest|xz|xz-utils|unpacks their kernel modules
pods|containerd|containerd|real pods, as a Kubernetes node has them
pods|runc|runc|starts their containers
pods|/usr/lib/cni/bridge|containernetworking-plugins|their network
tests|h2load|nghttp2-client|load of HTTP/2, plain and inside of TLS
tests|nghttpx|nghttp2-proxy|a proxy between HTTP/2 and HTTP/1 to observe
tests|/usr/lib/x86_64-linux-gnu/libssl.a|libssl-dev|a client with OpenSSL built in to observe
tests|gnutls-cli|gnutls-bin|a client of GnuTLS to observe
tests|curl|curl|a client of HTTP to observe
tests|memcached|memcached|a cache to observe
tests|mosquitto|mosquitto|a broker of MQTT to observe
tests|mosquitto_pub|mosquitto-clients|its clients
tests|nats-server|nats-server|a broker to observe
tests|dnsmasq|dnsmasq-base|a name server to observe
tests|dnsperf|dnsperf|load of DNS
tests|dig|bind9-dnsutils|single questions of DNS
tests|tcpdump|tcpdump|the oracle of the filters of a trace
tests|prometheus|prometheus|reads what is exported, as does its promtool
servers|pgbench|postgresql|a database to observe, with its load
servers|mariadbd|mariadb-server|another one
servers|mariadb-slap|mariadb-client|its load
servers|/usr/lib/rabbitmq/bin|rabbitmq-server|a broker of AMQP to observe
servers|amqp-publish|amqp-tools|its clients
servers|go|golang-go|builds a server and a client of Go to observe
'
# Services that come with those packages and that we do not want running.
SERVICES='nginx redis-server containerd memcached mosquitto nats-server nghttpx prometheus'

say() { printf '%s\n' "$*" >&2; }

present() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# Lines of WANTED that belong to a chosen group and are not there.
missing() {
    printf '%s' "$WANTED" | while IFS='|' read -r group sign package why; do
        case " $groups " in
        *" $group "*) present "$sign" || printf '%s|%s|%s\n' "$group" "$package" "$why" ;;
        esac
    done
}

# Runs a command as root; fails when there is no way to.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null 2>&1 || return
    [ -t 0 ] || sudo -n true 2>/dev/null
}

# A package may start its service when it is installed; nobody asked for a web
# server on this machine. Debian's own switch against it is policy-rc.d.
hold_services() {
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && return
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

# Nor should they start with the next boot, if they are new here.
disable_services() {
    [ -d /run/systemd/system ] || return 0
    for service in $new_services; do
        as_root systemctl disable --quiet "$service" 2>/dev/null &&
            say "setup: $service is installed, but not enabled as a service"
    done
    return 0
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

install_packages() {
    new_services=
    for service in $SERVICES; do
        present "$service" || new_services="$new_services $service"
    done
    hold_services
    apt update || say 'setup: apt-get update failed; trying with the lists at hand'
    # shellcheck disable=SC2086 # a list of words
    if ! apt install -y --no-install-recommends $1; then
        say 'setup: not all of them could be installed; trying one by one'
        for package in $1; do
            apt install -y --no-install-recommends "$package" || say "setup: no $package"
        done
    fi
    disable_services
}

rust_tools() {
    if ! command -v cargo >/dev/null 2>&1; then
        say 'setup: cargo is not installed: see https://rustup.rs (Rust 1.95 or later)'
        exit 1
    fi
    for tool in rustfmt cargo-clippy; do
        "$tool" --version >/dev/null 2>&1 && continue
        component=${tool#cargo-}
        say "setup: adding the Rust component $component (used by make test)"
        rustup component add "$component" || say "setup: no $component"
    done
}

groups=${*:-build lab guest pods tests}
rust_tools
lacking=$(missing)
[ -z "$lacking" ] && exit 0

say 'Taproot needs packages that are not installed:'
printf '%s\n' "$lacking" | while IFS='|' read -r group package why; do
    printf '  %-28s %s (%s)\n' "$package" "$why" "$group" >&2
done
packages=$(printf '%s\n' "$lacking" | cut -d'|' -f2 | tr '\n' ' ')

if [ "${TAPROOT_NO_INSTALL:-0}" = 1 ]; then
    say 'setup: TAPROOT_NO_INSTALL=1: nothing is installed'
elif ! command -v apt-get >/dev/null 2>&1; then
    say 'setup: no apt here; install these (Debian names) with your package manager'
elif ! can_be_root; then
    say "setup: neither root nor sudo; as root: apt-get install $packages"
else
    say 'Installing them with apt-get (TAPROOT_NO_INSTALL=1 prevents that).'
    install_packages "$packages"
fi

still=$(missing)
[ -z "$still" ] && exit 0
say "setup: still missing: $(printf '%s\n' "$still" | cut -d'|' -f2 | tr '\n' ' ')"
case "$still" in
*build\|*) say 'setup: the build cannot go on without those marked (build)'; exit 1 ;;
esac
exit 0
