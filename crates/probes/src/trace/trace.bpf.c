// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * One packet's way, hop by hop, from tracepoints alone: they are there where
 * neither kprobes nor function entry are.
 *
 * A hook reads the headers once, asks the filter, and is done with a packet that
 * nobody asked for; room in the ring is taken only after that.
 */
#include "taproot.h"
#include "trace.h"
#include "kernel.bpf.h"
#include "headers.bpf.h"
#include "filter.bpf.h"
#include "emit.bpf.h"
#include "owner.bpf.h"
#include "follow.bpf.h"
#include "link.bpf.h"
#include "look.bpf.h"
#include "packets.bpf.h"
#include "sockets.bpf.h"
#include "functions.bpf.h"

char LICENSE[] SEC("license") = "GPL";
