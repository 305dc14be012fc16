//! What connected devices have to be told, or must leave for.

use std::sync::Arc;

use async_trait::async_trait;
use iploop_platform::device_news::{Connected, News, Said};
use iploop_platform::ids::NodeId;
use iploop_platform::partners::admits_device;
use iploop_protocol::codes::CloseCode;
use tokio::time::Instant;

use crate::hub::Hub;
use crate::node::Node;

#[async_trait]
impl Connected for Hub {
    async fn hear(&self, news: &News) {
        match news {
            News::Wish { node, is_paused } => {
                if let Some((key, node)) = self.connected(*node) {
                    node.wish(*is_paused, Instant::now().into_std());
                    self.shared.renew_sharing(key, &node);
                }
            }
            News::Withdrawn { node, consent } => {
                self.withdrawn(*node, |node| node.device.consent == *consent);
            }
            News::Erased(node) => self.withdrawn(*node, |_| true),
            News::Apps { partner, apps } => {
                let review = self.shared.registrar.reviews_apps();
                let may_not_stay = |node: &Node| {
                    let os = node.exit.os.as_deref();
                    node.device.partner == *partner && !admits_device(apps, &node.device.app, os, review)
                };
                self.reject(may_not_stay, "the app may not bring devices any more")
                    .await;
            }
            News::Partner(partner) => {
                self.shared.registrar.forget_partners();
                let is_of = |node: &Node| node.device.partner == *partner;
                self.reject(is_of, "the partner is not active any more").await;
            }
        }
    }

    fn said(&self, node: NodeId) -> Option<Said> {
        self.connected(node).map(|(_, node)| node.said())
    }
}

impl Hub {
    fn withdrawn(&self, node: NodeId, holds_for: impl Fn(&Node) -> bool) {
        if let Some((_, node)) = self.connected(node)
            && holds_for(&node)
        {
            node.tunnel
                .close(CloseCode::Withdrawn, None, "the owner withdrew elsewhere");
        }
    }

    /// Closes the connections of all devices that it holds for.
    async fn reject(&self, holds_for: impl Fn(&Node) -> bool + Send + Sync, reason: &str) {
        let close = |(_, node): &(_, Arc<Node>)| {
            if holds_for(node) {
                node.tunnel.close(CloseCode::PartnerRejected, None, reason);
            }
        };
        self.shared
            .for_each_node(|page| page.iter().for_each(close))
            .await;
    }
}
