-- Prices and limits of PRD 5.9 and 11.2, gates of 5.9. Rows from here on: an admin may change them.
INSERT INTO plans (
    id, name, description,
    price_per_gb_micros, price_monthly_cents, price_annual_cents, included_bytes,
    requests_per_day, max_concurrent_connections, city_targeting, asn_targeting, sticky_sessions,
    features, is_active
) VALUES
    (UUID '01900000-0000-7000-8000-000000000001', 'Starter', 'For trying out and small jobs.',
     9800000, 4900, 47000, 5000000000,
     10000, 10, FALSE, FALSE, FALSE,
     '["Basic geo-targeting", "Email support"]', TRUE),
    (UUID '01900000-0000-7000-8000-000000000002', 'Growth', 'For growing teams that need cities and steady addresses.',
     5960000, 14900, 143000, 25000000000,
     50000, 50, TRUE, FALSE, TRUE,
     '["Advanced geo-targeting: city", "Sticky sessions", "Priority support"]', TRUE),
    (UUID '01900000-0000-7000-8000-000000000003', 'Business', 'For work at scale, with networks to choose and a service level.',
     4990000, 49900, 479000, 100000000000,
     200000, 200, TRUE, TRUE, TRUE,
     '["Advanced geo-targeting: city and ASN", "Sticky sessions", "24/7 support and a dedicated manager", "99.9 % SLA"]', TRUE),
    (UUID '01900000-0000-7000-8000-000000000004', 'Pay-as-you-go', 'Pay for what you use, no commitment.',
     5000000, 0, NULL, NULL,
     50000, 25, FALSE, FALSE, FALSE,
     '["Basic geo-targeting", "Email support", "No commitment"]', TRUE);
