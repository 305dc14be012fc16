//! What every request needs, and its way from understood to admitted to settled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use iploop_platform::abuse::{AbuseWatch, Cause};
use iploop_platform::admission::{Admission, AdmissionError, Admitted, LimitState};
use iploop_platform::exits::{Exit, Exits, OpenedExit, StreamGauge};
use iploop_platform::ids::{AccountId, RequestId};
use iploop_platform::metering::{Outcome, ProxyType, StreamMeter};
use iploop_protocol::destination::Destination;
use iploop_protocol::policy::{Context, Policy};
use iploop_protocol::targeting::{AddressLogin, Dns, Targeting};
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{Fault, ProxyError};
use crate::config::GatewayConfig;
use crate::connection::{Connection, Linger};
use crate::drain::{Drain, Phase};
use crate::exit::{Bounds, Failed, Found, Refusals, Resolver, Search, Through, Trail};
use crate::http::echo;
use crate::listener::Load;
use crate::relay::{End, Lifetimes};
use crate::request::{Login, LoginFault};
use crate::sessions::{Sessions, Visit};
use crate::socks5::SocksFault;
use crate::telemetry;

/// What every request needs.
pub(crate) struct Service {
    pub(crate) exits: Arc<dyn Exits>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) sessions: Sessions,
    pub(crate) policy: RwLock<Policy>,
    pub(crate) watch: AbuseWatch,
    pub(crate) resolver: Resolver,
    pub(crate) refusals: Refusals,
    pub(crate) config: GatewayConfig,
    pub(crate) drain: Drain,
    pub(crate) load: Arc<Load>,
}

/// A request whose login was accepted, wherever it goes. Dropping it books it as served without a byte.
pub(crate) struct Authorized {
    /// Ends the request.
    pub(crate) account: Account,
    targeting: Arc<Targeting>,
    client: IpAddr,
}

/// A request that passed every check, with the search for its exit. Dropping it books what was counted.
pub(crate) struct AdmittedRequest {
    /// Looks for exits.
    pub(crate) search: Search,
    /// What the customer asked for.
    pub(crate) targeting: Arc<Targeting>,
    /// Ends the request.
    pub(crate) account: Account,
}

/// The request's place in the books.
pub(crate) struct Account {
    id: RequestId,
    proxy_type: ProxyType,
    admitted: Admitted,
    began: Instant,
    /// While the request runs its session is in use.
    visit: Option<Arc<Visit>>,
    /// The exit that serves it.
    through: Option<Through>,
}

impl Service {
    /// How long customers that were answered may go on sending.
    pub(crate) fn linger(&self) -> Linger {
        let is_full = self.load.connections() >= self.config.max_connections;
        match is_full || self.drain.phase() != Phase::Serving {
            true => Linger::SHORT,
            false => Linger::LONG,
        }
    }

    /// Admits whoever asks: login, plan, limits, balance.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn authorize(
        &self,
        id: RequestId,
        proxy_type: ProxyType,
        login: Login,
        client: IpAddr,
    ) -> Result<Authorized, ProxyError> {
        let began = Instant::now();
        if self.drain.phase() == Phase::Refusing {
            return Err(refused(proxy_type, ProxyError::Draining));
        }
        let admitted = match &login {
            Login::Key(credentials) => self.admission.admit(id, credentials, client).await,
            // Who is unknown hears that a login is missing, whatever is wrong with its wishes.
            Login::Address(_) if !self.admission.knows_address(client) => Err(AdmissionError::NoAddressLogin),
            Login::Address(user) => match AddressLogin::parse(user) {
                Ok(login) => self.admission.admit_address(id, &login, client).await,
                Err(error) => return Err(refused(proxy_type, error.into())),
            },
        };
        match admitted {
            Ok(admitted) => {
                let account = Account {
                    id,
                    proxy_type,
                    admitted,
                    began,
                    visit: None,
                    through: None,
                };
                Ok(Authorized {
                    targeting: Arc::clone(account.admitted.targeting()),
                    account,
                    client,
                })
            }
            Err(AdmissionError::NoAddressLogin) => Err(refused(proxy_type, LoginFault::Missing.into())),
            Err(error) => {
                tracing::debug!(request.id = %id, reason = error.operator_text(), "not admitted");
                Err(refused(proxy_type, error.into()))
            }
        }
    }

    /// Checks where an admitted request goes, and enters its session.
    ///
    /// # Errors
    /// Why it may not go there. The request is settled then.
    pub(crate) async fn route(
        &self,
        authorized: Authorized,
        destination: Destination,
        rotate: bool,
    ) -> Result<AdmittedRequest, ProxyError> {
        let Authorized {
            account,
            targeting,
            client,
        } = authorized;
        account.meter().set_destination(account.proxy_type, &destination);
        if echo::is_named(&destination) {
            return Err(account.failed(ProxyError::EchoPort(destination.port)));
        }
        // A copy of a few pointers, so that no lock is held while names are resolved.
        let policy = self.policy.read().clone();
        let context = account.context();
        let allowed = account
            .admitted
            .check_destination(&destination)
            .map_err(ProxyError::from)
            .and_then(|()| {
                policy
                    .check_destination(&destination, &context)
                    .map_err(ProxyError::from)
            });
        let checked = match allowed {
            Err(error) => Err(error),
            Ok(()) if targeting.dns() == Dns::Gateway => {
                let resolved = Box::pin(self.resolver.resolve(&destination, &policy, &context)).await;
                // Where the name may be reached by an allow-list, its address need not be on it.
                resolved.and_then(|resolved| match account.admitted.is_denied(&resolved) {
                    true => Err(AdmissionError::KeyDestination.into()),
                    false => Ok(resolved),
                })
            }
            Ok(()) => Ok(destination),
        };
        let destination = match checked {
            Ok(destination) => destination,
            Err(error) => {
                if let ProxyError::Forbidden(refusal) = &error {
                    let cause = Cause::Rule(refusal.rule());
                    self.watch.refused(account.admitted.account(), None, cause);
                }
                return Err(account.failed(error));
            }
        };
        self.begin_search(account, targeting, client, destination, rotate)
    }

    /// Lets an admitted request send datagrams, if those are open, and enters its session.
    ///
    /// # Errors
    /// They are not. The request is settled then.
    pub(crate) fn route_datagrams(&self, authorized: Authorized) -> Result<AdmittedRequest, ProxyError> {
        let Authorized {
            account,
            targeting,
            client,
        } = authorized;
        if !self.policy.read().opens_udp(&account.context()) {
            return Err(account.failed(SocksFault::Command.into()));
        }
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).into();
        let request = self.begin_search(account, targeting, client, nowhere, false)?;
        Ok(AdmittedRequest {
            search: request.search.for_datagrams(),
            ..request
        })
    }

    fn begin_search(
        &self,
        mut account: Account,
        targeting: Arc<Targeting>,
        client: IpAddr,
        destination: Destination,
        rotate: bool,
    ) -> Result<AdmittedRequest, ProxyError> {
        let key = account.admitted.api_key();
        let payer = account.admitted.account();
        let visit = match self.sessions.visit(payer, key, &targeting, client) {
            Ok(visit) => visit.map(Arc::new),
            Err(error) => return Err(account.failed(error)),
        };
        if let Some(visit) = &visit {
            account.meter().set_session(visit.name());
        }
        account.visit.clone_from(&visit);
        if let Some(visit) = visit.as_ref().filter(|_| rotate) {
            visit.rotate();
        }
        let bounds = Bounds {
            connect_timeout: self.config.connect_timeout,
            attempt_timeout: self.config.attempt_timeout,
            max_attempts: self.config.max_attempts,
            hedge: self.config.hedge_dials,
        };
        let search = Search::new(
            payer,
            key,
            Arc::clone(&targeting),
            destination,
            visit,
            bounds,
            self.refusals.clone(),
        )
        .on_terms(account.admitted.terms().clone());
        Ok(AdmittedRequest {
            search,
            targeting,
            account,
        })
    }

    /// How long tunnels may live.
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            idle: self.config.idle_timeout,
            max: self.config.max_duration,
        }
    }
}

/// Why a request has no exit.
pub(crate) enum NoExit {
    /// The customer shall hear this.
    Error(ProxyError),
    /// There is nobody to hear it.
    CustomerLeft,
}

impl AdmittedRequest {
    /// The next exit that reaches the destination, looked for while the customer waits, with what the answer says of the session.
    /// It is in the books then. `early` goes along with the dial; whoever gives it has it counted.
    ///
    /// # Errors
    /// See [`NoExit`]. The request is not settled.
    pub(crate) async fn find_exit(
        &mut self,
        service: &Service,
        customer: &mut Connection,
        early: &Bytes,
    ) -> Result<(OpenedExit, Option<String>), NoExit> {
        let Self { search, account, .. } = self;
        let found = tokio::select! {
            biased;
            found = search.next(&*service.exits, &service.sessions, early) => Some(found),
            _ = customer.broken() => None,
        };
        account.meter().set_attempts(search.attempts().max(1));
        let Found {
            opened,
            session,
            through,
        } = found.ok_or(NoExit::CustomerLeft)?.map_err(NoExit::Error)?;
        account
            .meter()
            .set_connect_times(search.select_time(), opened.dial);
        account.goes_through(&opened.exit, through);
        telemetry::connected(search.attempts(), account.began.elapsed());
        Ok((opened, session))
    }

    /// What the search went through, for customers who ask.
    pub(crate) fn trail(&self) -> Option<Box<Trail>> {
        Trail::of(&self.search, &self.targeting)
    }

    /// Settles the request as failed.
    pub(crate) fn failed(self, error: ProxyError) -> Failed {
        let trail = self.trail();
        Failed {
            error: self.account.failed(error),
            trail,
        }
    }
}

impl Authorized {
    /// What the customer asked for.
    pub(crate) fn targeting(&self) -> &Targeting {
        &self.targeting
    }
}

impl Account {
    /// The request's id.
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// Counts the request's bytes.
    pub(crate) fn meter(&self) -> &StreamMeter {
        self.admitted.meter()
    }

    /// The limits that hold for the request, with what is left of each.
    pub(crate) fn limits(&self) -> Vec<LimitState> {
        self.admitted.limits()
    }

    /// The customer hears of this exit: a session remembers what it said last.
    pub(crate) fn told(&self, exit: IpAddr) {
        if let Some(visit) = &self.visit {
            visit.told(exit);
        }
    }

    /// Cancelled when the account is suspended.
    pub(crate) fn cut(&self) -> &CancellationToken {
        self.admitted.cut()
    }

    /// What the policy asks about the customer besides the destination.
    pub(crate) fn context(&self) -> Context<'_> {
        let now_ms = u64::try_from(self.admitted.admitted_at().as_millis()).unwrap_or(0);
        Context::at_gateway().with_grants(&self.admitted.terms().grants, now_ms)
    }

    /// Who pays.
    pub(crate) fn payer(&self) -> AccountId {
        self.admitted.account()
    }

    /// Whether the key may reach this, for those whose destination is not known when they are routed.
    pub(crate) fn may_reach(&self, destination: &Destination) -> bool {
        self.admitted.check_destination(destination).is_ok()
    }

    /// Whether names are resolved here (`dns-gateway`).
    pub(crate) fn resolves_here(&self) -> bool {
        self.admitted.targeting().dns() == Dns::Gateway
    }

    /// Whether this is on the key's list of what it must not reach: for the address behind a name.
    pub(crate) fn is_denied(&self, destination: &Destination) -> bool {
        self.admitted.is_denied(destination)
    }

    /// Notes the exit that serves the request from now on.
    pub(crate) fn goes_through(&mut self, exit: &Exit, through: Through) {
        self.meter().set_exit(exit);
        self.through = Some(through);
    }

    /// The exit that serves the request.
    pub(crate) fn through(&self) -> Option<&Through> {
        self.through.as_ref()
    }

    /// Measures the bytes of that exit's stream.
    pub(crate) fn gauge(&self) -> Option<&Arc<StreamGauge>> {
        self.through().map(Through::gauge)
    }

    /// Settles a request that got this error for an answer, and hands the error on.
    pub(crate) fn failed(self, error: ProxyError) -> ProxyError {
        let row = error.row();
        self.meter().set_status(row.status);
        let outcome = match row.fault {
            Fault::Ours => Outcome::OurFailure(row.code),
            Fault::Customer | Fault::Destination => Outcome::Failed(row.code),
        };
        self.settle(row.code, outcome);
        error
    }

    /// Settles a request that was answered by its destination, or whose customer left.
    pub(crate) fn served(self) {
        self.settle("ok", Outcome::Served);
    }

    /// Settles a request that ended like this after its answer had begun: what was delivered is paid, unless our side broke
    /// it.
    pub(crate) fn ended(self, end: &End) {
        match end.code() {
            None => self.served(),
            Some(code) if end.is_ours() => self.settle(code, Outcome::OurFailure(code)),
            Some(code) => self.settle(code, Outcome::Failed(code)),
        }
    }

    fn settle(self, code: &'static str, outcome: Outcome) {
        telemetry::request(self.proxy_type, code);
        let meter = self.admitted.meter();
        if let Some(visit) = &self.visit {
            visit.moved(meter.bytes_up(), meter.bytes_down());
        }
        tracing::debug!(
            request.id = %self.id,
            r#type = self.proxy_type.as_str(),
            code,
            bytes_up = meter.bytes_up(),
            bytes_down = meter.bytes_down(),
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request settled"
        );
        self.admitted.finish(outcome);
    }
}

/// Counts a request that nobody was admitted for.
pub(crate) fn refused(proxy_type: ProxyType, error: ProxyError) -> ProxyError {
    let code = error.row().code;
    telemetry::request(proxy_type, code);
    tracing::debug!(r#type = proxy_type.as_str(), code, "request refused");
    error
}
