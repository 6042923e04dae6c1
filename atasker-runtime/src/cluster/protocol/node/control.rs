//! What other members ask of a node.

use std::rc::Rc;

use super::Node;
use super::held::Happened;
use crate::cluster::broker::{DeliveryToken, Message};
use crate::cluster::protocol::control::{Frame, Item, Reply};

/// A message to a node has arrived.
pub(super) fn arrived(node: &Rc<Node>, message: Message) {
    let Ok(frame) = Frame::decode(&message.value) else { return };
    let held_by = |id, claim| node.get(id).filter(|held| held.claim == claim);
    match frame {
        Frame::Do { id, claim, verb } => match held_by(id, claim) {
            // The task of the call answers.
            Some(held) => held.happen(Happened::Asked(verb, message.reply)),
            None => node.reply(message.reply, Reply::NotHeld),
        },
        Frame::Holds { id, claim, token } => {
            let held = held_by(id, claim);
            if let Some(held) = &held
                && let Some(token) = token
            {
                held.adopt(node, DeliveryToken(token.into()));
            }
            node.reply(message.reply, if held.is_some() { Reply::Yes } else { Reply::NotHeld });
        }
        Frame::Attach { id, claim, member } => match held_by(id, claim) {
            Some(held) => {
                let gone = held.channel.borrow_mut().attach(node, &member);
                held.happen(Happened::Arrived(vec![Item::HasReceiver(true), Item::Taken(gone)]));
                node.reply(message.reply, Reply::Yes);
            }
            None => node.reply(message.reply, Reply::NotHeld),
        },
        Frame::Items { from, stream, first, items } => {
            let Some(held) = held_by(stream.id, stream.claim) else { return };
            let items = held.channel.borrow_mut().arrived(node, &from, stream, first, items);
            if !items.is_empty() {
                held.happen(Happened::Arrived(items));
            }
        }
        Frame::Ack { stream, next } => {
            if let Some(held) = held_by(stream.id, stream.claim) {
                held.channel.borrow_mut().acknowledged(node, &stream, next);
            }
        }
        Frame::Detached { .. } => {}
        Frame::Ping => node.reply(message.reply, Reply::Yes),
    }
}
