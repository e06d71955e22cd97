//! Every protocol but HTTP/1 through the same ordeal: whole, cut, joined late,
//! with gaps, with truncated copies, and mutilated.

mod amqp;
mod any;
mod cql;
mod dns;
mod dubbo;
mod http2;
mod kafka;
mod kit;
mod memcached;
mod mongo;
mod mqtt;
mod mysql;
mod nats;
mod postgres;
mod redis;
mod tls;
mod websocket;
