//! The commands of Redis 8, and where their key (or channel) stands.

use crate::exchange::Text;
use crate::protocol::{Recognition, Side};

/// Where a command has its first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// It has none, or not at a fixed place.
    None,
    /// Behind its name.
    First,
}

/// Longest command name in bytes.
pub(super) const LONGEST: usize = 32;

/// The name as it is shown, and where the key is. Commands of modules (`JSON.GET`)
/// are known by their dot.
pub(super) fn find(word: &[u8]) -> Option<(Text, Key)> {
    let mut upper = [0; LONGEST];
    let upper = upper.get_mut(..word.len())?;
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    let upper = std::str::from_utf8(upper).ok()?;
    if let Ok(at) = COMMANDS.binary_search_by_key(&upper, |(name, _)| name) {
        let (name, key) = COMMANDS[at];
        return Some((name.into(), key));
    }
    let (module, name) = upper.split_once('.')?;
    let letters =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase());
    (letters(module) && letters(name)).then(|| (upper.to_owned().into(), Key::First))
}

/// `PING` as typed: what probes send to find out whether a server lives.
pub(crate) fn ping(bytes: &[u8]) -> Recognition {
    const PING: &[u8] = b"PING\r\n";
    if bytes == PING {
        Recognition::Yes(Side::Client)
    } else if PING.starts_with(bytes) {
        Recognition::Short
    } else {
        Recognition::No
    }
}

/// Sorted by name.
const COMMANDS: &[(&str, Key)] = &[
    ("ACL", Key::None),
    ("APPEND", Key::First),
    ("ASKING", Key::None),
    ("AUTH", Key::None),
    ("BGREWRITEAOF", Key::None),
    ("BGSAVE", Key::None),
    ("BITCOUNT", Key::First),
    ("BITFIELD", Key::First),
    ("BITFIELD_RO", Key::First),
    ("BITPOS", Key::First),
    ("BLMOVE", Key::First),
    ("BLMPOP", Key::None),
    ("BLPOP", Key::First),
    ("BRPOP", Key::First),
    ("BRPOPLPUSH", Key::First),
    ("BZMPOP", Key::None),
    ("BZPOPMAX", Key::First),
    ("BZPOPMIN", Key::First),
    ("CLIENT", Key::None),
    ("CLUSTER", Key::None),
    ("COMMAND", Key::None),
    ("CONFIG", Key::None),
    ("COPY", Key::First),
    ("DBSIZE", Key::None),
    ("DEBUG", Key::None),
    ("DECR", Key::First),
    ("DECRBY", Key::First),
    ("DEL", Key::First),
    ("DISCARD", Key::None),
    ("DUMP", Key::First),
    ("ECHO", Key::None),
    ("EVAL", Key::None),
    ("EVALSHA", Key::None),
    ("EVALSHA_RO", Key::None),
    ("EVAL_RO", Key::None),
    ("EXEC", Key::None),
    ("EXISTS", Key::First),
    ("EXPIRE", Key::First),
    ("EXPIREAT", Key::First),
    ("EXPIRETIME", Key::First),
    ("FAILOVER", Key::None),
    ("FCALL", Key::None),
    ("FCALL_RO", Key::None),
    ("FLUSHALL", Key::None),
    ("FLUSHDB", Key::None),
    ("FUNCTION", Key::None),
    ("GEOADD", Key::First),
    ("GEODIST", Key::First),
    ("GEOHASH", Key::First),
    ("GEOPOS", Key::First),
    ("GEORADIUS", Key::First),
    ("GEORADIUSBYMEMBER", Key::First),
    ("GEOSEARCH", Key::First),
    ("GEOSEARCHSTORE", Key::First),
    ("GET", Key::First),
    ("GETBIT", Key::First),
    ("GETDEL", Key::First),
    ("GETEX", Key::First),
    ("GETRANGE", Key::First),
    ("GETSET", Key::First),
    ("HDEL", Key::First),
    ("HELLO", Key::None),
    ("HEXISTS", Key::First),
    ("HEXPIRE", Key::First),
    ("HGET", Key::First),
    ("HGETALL", Key::First),
    ("HGETDEL", Key::First),
    ("HGETEX", Key::First),
    ("HINCRBY", Key::First),
    ("HINCRBYFLOAT", Key::First),
    ("HKEYS", Key::First),
    ("HLEN", Key::First),
    ("HMGET", Key::First),
    ("HMSET", Key::First),
    ("HPERSIST", Key::First),
    ("HPEXPIRE", Key::First),
    ("HRANDFIELD", Key::First),
    ("HSCAN", Key::First),
    ("HSET", Key::First),
    ("HSETEX", Key::First),
    ("HSETNX", Key::First),
    ("HSTRLEN", Key::First),
    ("HTTL", Key::First),
    ("HVALS", Key::First),
    ("INCR", Key::First),
    ("INCRBY", Key::First),
    ("INCRBYFLOAT", Key::First),
    ("INFO", Key::None),
    ("KEYS", Key::None),
    ("LASTSAVE", Key::None),
    ("LATENCY", Key::None),
    ("LCS", Key::First),
    ("LINDEX", Key::First),
    ("LINSERT", Key::First),
    ("LLEN", Key::First),
    ("LMOVE", Key::First),
    ("LMPOP", Key::None),
    ("LOLWUT", Key::None),
    ("LPOP", Key::First),
    ("LPOS", Key::First),
    ("LPUSH", Key::First),
    ("LPUSHX", Key::First),
    ("LRANGE", Key::First),
    ("LREM", Key::First),
    ("LSET", Key::First),
    ("LTRIM", Key::First),
    ("MEMORY", Key::None),
    ("MGET", Key::First),
    ("MIGRATE", Key::None),
    ("MODULE", Key::None),
    ("MONITOR", Key::None),
    ("MOVE", Key::First),
    ("MSET", Key::First),
    ("MSETNX", Key::First),
    ("MULTI", Key::None),
    ("OBJECT", Key::None),
    ("PERSIST", Key::First),
    ("PEXPIRE", Key::First),
    ("PEXPIREAT", Key::First),
    ("PEXPIRETIME", Key::First),
    ("PFADD", Key::First),
    ("PFCOUNT", Key::First),
    ("PFMERGE", Key::First),
    ("PING", Key::None),
    ("PSETEX", Key::First),
    ("PSUBSCRIBE", Key::First),
    ("PSYNC", Key::None),
    ("PTTL", Key::First),
    ("PUBLISH", Key::First),
    ("PUBSUB", Key::None),
    ("PUNSUBSCRIBE", Key::First),
    ("QUIT", Key::None),
    ("RANDOMKEY", Key::None),
    ("READONLY", Key::None),
    ("READWRITE", Key::None),
    ("RENAME", Key::First),
    ("RENAMENX", Key::First),
    ("REPLCONF", Key::None),
    ("REPLICAOF", Key::None),
    ("RESET", Key::None),
    ("RESTORE", Key::First),
    ("ROLE", Key::None),
    ("RPOP", Key::First),
    ("RPOPLPUSH", Key::First),
    ("RPUSH", Key::First),
    ("RPUSHX", Key::First),
    ("SADD", Key::First),
    ("SAVE", Key::None),
    ("SCAN", Key::None),
    ("SCARD", Key::First),
    ("SCRIPT", Key::None),
    ("SDIFF", Key::First),
    ("SDIFFSTORE", Key::First),
    ("SELECT", Key::None),
    ("SET", Key::First),
    ("SETBIT", Key::First),
    ("SETEX", Key::First),
    ("SETNX", Key::First),
    ("SETRANGE", Key::First),
    ("SHUTDOWN", Key::None),
    ("SINTER", Key::First),
    ("SINTERCARD", Key::None),
    ("SINTERSTORE", Key::First),
    ("SISMEMBER", Key::First),
    ("SLAVEOF", Key::None),
    ("SLOWLOG", Key::None),
    ("SMEMBERS", Key::First),
    ("SMISMEMBER", Key::First),
    ("SMOVE", Key::First),
    ("SORT", Key::First),
    ("SORT_RO", Key::First),
    ("SPOP", Key::First),
    ("SPUBLISH", Key::First),
    ("SRANDMEMBER", Key::First),
    ("SREM", Key::First),
    ("SSCAN", Key::First),
    ("SSUBSCRIBE", Key::First),
    ("STRLEN", Key::First),
    ("SUBSCRIBE", Key::First),
    ("SUBSTR", Key::First),
    ("SUNION", Key::First),
    ("SUNIONSTORE", Key::First),
    ("SUNSUBSCRIBE", Key::First),
    ("SWAPDB", Key::None),
    ("SYNC", Key::None),
    ("TIME", Key::None),
    ("TOUCH", Key::First),
    ("TTL", Key::First),
    ("TYPE", Key::First),
    ("UNLINK", Key::First),
    ("UNSUBSCRIBE", Key::First),
    ("UNWATCH", Key::None),
    ("WAIT", Key::None),
    ("WAITAOF", Key::None),
    ("WATCH", Key::First),
    ("XACK", Key::First),
    ("XADD", Key::First),
    ("XAUTOCLAIM", Key::First),
    ("XCLAIM", Key::First),
    ("XDEL", Key::First),
    ("XGROUP", Key::None),
    ("XINFO", Key::None),
    ("XLEN", Key::First),
    ("XPENDING", Key::First),
    ("XRANGE", Key::First),
    ("XREAD", Key::None),
    ("XREADGROUP", Key::None),
    ("XREVRANGE", Key::First),
    ("XTRIM", Key::First),
    ("ZADD", Key::First),
    ("ZCARD", Key::First),
    ("ZCOUNT", Key::First),
    ("ZDIFF", Key::None),
    ("ZDIFFSTORE", Key::First),
    ("ZINCRBY", Key::First),
    ("ZINTER", Key::None),
    ("ZINTERCARD", Key::None),
    ("ZINTERSTORE", Key::First),
    ("ZLEXCOUNT", Key::First),
    ("ZMPOP", Key::None),
    ("ZMSCORE", Key::First),
    ("ZPOPMAX", Key::First),
    ("ZPOPMIN", Key::First),
    ("ZRANDMEMBER", Key::First),
    ("ZRANGE", Key::First),
    ("ZRANGEBYLEX", Key::First),
    ("ZRANGEBYSCORE", Key::First),
    ("ZRANGESTORE", Key::First),
    ("ZRANK", Key::First),
    ("ZREM", Key::First),
    ("ZREMRANGEBYLEX", Key::First),
    ("ZREMRANGEBYRANK", Key::First),
    ("ZREMRANGEBYSCORE", Key::First),
    ("ZREVRANGE", Key::First),
    ("ZREVRANGEBYLEX", Key::First),
    ("ZREVRANGEBYSCORE", Key::First),
    ("ZREVRANK", Key::First),
    ("ZSCAN", Key::First),
    ("ZSCORE", Key::First),
    ("ZUNION", Key::None),
    ("ZUNIONSTORE", Key::First),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(COMMANDS.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn finds_in_any_case() {
        assert_eq!(find(b"hGetAll"), Some(("HGETALL".into(), Key::First)));
        assert_eq!(find(b"ft.search"), Some(("FT.SEARCH".into(), Key::First)));
        for word in [&b"secret"[..], b"", b"a.", b".b", b"\xff", &[b'A'; 40]] {
            assert_eq!(find(word), None, "{}", word.escape_ascii());
        }
    }
}
