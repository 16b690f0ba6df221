//! Everything that can go wrong, by name.

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident = $most:literal,)*) => {
        /// Something that goes wrong, or that a caller does to make it hard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Fault { $($(#[doc = $doc])* $name,)* }

        impl Fault {
            pub(crate) const ALL: &[(Fault, f64)] = &[$((Fault::$name, $most),)*];
        }
    };
}

// Each with the highest probability per opportunity, or the most occurrences per schedule where it is above 1.
faults! {
    // A message on its way.
    Drop = 0.2,
    Delay = 0.6,
    Duplicate = 0.2,
    Reorder = 0.4,
    /// The transport does not take a message.
    NotTaken = 0.1,
    /// The transport does not take it, because the connection has just ended.
    NotTakenAtTheEnd = 0.1,
    // An attempt to connect.
    NameNotResolved = 0.2,
    TcpRefused = 0.3,
    TlsFailed = 0.1,
    WebSocketFailed = 0.1,
    ProtocolBroken = 0.1,
    /// Nobody answers, and the transport says nothing either.
    ConnectUnanswered = 0.3,
    /// Nobody answers, and the transport says so.
    ConnectTimedOut = 0.2,
    Connack1 = 0.05,
    Connack2 = 0.05,
    Connack3 = 0.3,
    Connack4 = 0.15,
    Connack5 = 0.15,
    /// The default broker refuses the application.
    ApplicationRefused = 0.02,
    /// The transport was set up wrongly.
    LinkMisconfigured = 0.03,
    ConnackTwice = 0.2,
    /// CONNACK comes late to who has already written more.
    ConnackLate = 0.3,
    /// The connection ends before CONNACK, after more was written.
    CutBeforeConnack = 0.2,
    /// The broker refuses who has already written more.
    RefusedBehindConnect = 0.2,
    CutBeforeSuback = 0.2,
    SubackWithheld = 0.2,
    SubackRefused = 0.15,
    SubackLate = 0.3,
    // A call at the service.
    AnswerNever = 0.3,
    AnswerLate = 0.3,
    AnswerTwice = 0.3,
    AnswerWrongTopic = 0.2,
    AnswerWithoutId = 0.3,
    AnswerForeignId = 0.2,
    AnswerUnreadable = 0.2,
    AnswerUnreadableWithoutId = 0.2,
    Answer401 = 0.1,
    Answer403 = 0.1,
    Answer403ForReasonsOfItsOwn = 0.1,
    Answer404 = 0.2,
    /// Although the thing is there.
    AnswerTargetGone = 0.1,
    Answer429 = 0.2,
    Answer503 = 0.3,
    CutBeforeServing = 0.1,
    CutAfterServing = 0.1,
    // An onboarding at the service.
    OnboardingLost = 0.3,
    OnboardingLate = 0.3,
    OnboardingTwice = 0.3,
    OnboardingCut = 0.3,
    OnboardingRefusedForGood = 0.05,
    OnboardingBusy = 0.4,
    OnboardingTooMany = 0.3,
    OnboardingIncomplete = 0.2,
    OnboardingUnreadable = 0.2,
    OnboardingWithoutScheme = 0.02,
    // The store.
    StoreFails = 0.5,
    StoreLate = 0.5,
    StoreNever = 0.3,
    // At random times, so often at most.
    Cut = 12.0,
    Reset = 8.0,
    HalfOpen = 6.0,
    /// And the transport never notices.
    HalfOpenForEver = 2.0,
    BrokerRestart = 4.0,
    Kick = 8.0,
    DuplicateDevice = 2.0,
    CredentialRevoked = 3.0,
    TokenRevoked = 3.0,
    ThingDeleted = 3.0,
    /// Deleted, and its connection stays until somebody notices.
    ThingDeletedUnderALink = 2.0,
    EndpointMoved = 3.0,
    EndpointExpires = 0.7,
    ForeignMessage = 5.0,
    StaleEvent = 8.0,
    EarlyTimer = 8.0,
    Push = 6.0,
    // What callers and their machines do.
    LateTimer = 0.5,
    StaleCredential = 0.3,
    ForeignCredential = 0.1,
    Cancel = 0.4,
    Burst = 0.5,
    ShortDeadline = 0.4,
    WaitForLink = 0.6,
    OwnRequestId = 0.5,
    OwnAuthorization = 0.4,
    WrongAuthorization = 0.3,
    ImpossibleRequest = 0.2,
    CloseEarly = 1.0,
}

impl Fault {
    /// How often it happens, where it happens at all.
    fn draw(self, most: f64, rng: &mut fastrand::Rng) -> f64 {
        // Each schedule has some faults and not others: all at once hide what two of them do together.
        let likely = match self {
            Fault::ApplicationRefused
            | Fault::LinkMisconfigured
            | Fault::OnboardingRefusedForGood
            | Fault::OnboardingWithoutScheme => 0.08,
            Fault::CloseEarly => 0.12,
            _ => 0.22,
        };
        if rng.f64() < likely { most * rng.f64() } else { 0.0 }
    }
}

/// Which faults a schedule has, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Rates(Vec<f64>);

impl Rates {
    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Self {
        Self(Fault::ALL.iter().map(|(fault, most)| fault.draw(*most, rng)).collect())
    }

    pub(crate) fn of(&self, fault: Fault) -> f64 {
        self.0[fault as usize]
    }

    pub(crate) fn clear(&mut self, fault: Fault) {
        self.0[fault as usize] = 0.0;
    }

    /// From now on nothing goes wrong.
    pub(crate) fn cease(&mut self) {
        self.0.fill(0.0);
    }
}
