//! The promises of the store's traits, as one suite that runs on every database.
//!
//! A function here that is missing from the list below is reported as unused.

mod accounts;
mod admin;
mod admin_nodes;
mod admin_users;
mod api_keys;
mod audit;
mod billing;
mod books;
mod checkouts;
mod collection;
mod database;
mod device_news;
mod device_retention;
mod disputes;
mod errands;
mod events;
mod ip_logins;
mod ledger;
mod ledger_check;
mod ledger_model;
mod logins;
mod mails;
mod money;
mod nodes;
mod notices;
mod opening;
mod owners;
mod partner_records;
mod partners;
mod payments;
mod plans;
mod profiles;
mod proxy_defaults;
mod safeguards;
mod second_factors;
mod statistics;
mod sticky;
mod support;
mod top_ups;
mod usage;
mod volume;
mod webhook_rows;
mod webhooks;

use iploop_platform::account::{NewAccount, Role};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
use iploop_platform::store::Store;
use iploop_platform::usage::{Timings, UsageRecord};
use uuid::Uuid;

use database::Database;

macro_rules! contract {
    ($backend:ident { $($module:ident { $($name:ident)* })* }) => {
        mod $backend {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let database = crate::contract::Database::$backend().await;
                    crate::contract::$module::$name(&database).await;
                })*
            })*
        }
    };
}

macro_rules! on_every_database {
    ($($list:tt)*) => {
        contract!(sqlite_file { $($list)* });
        contract!(sqlite_memory { $($list)* });
        contract!(postgres { $($list)* });
    };
}

on_every_database! {
    accounts {
        a_new_account_has_its_plan_and_its_bonus
        an_account_without_bonus_has_no_transaction
        an_address_is_taken_in_any_case
        one_of_many_parallel_registrations_gets_the_address
        an_account_is_found_by_id_and_by_address_in_any_case
        unknown_accounts_are_none
        a_password_changes_and_a_login_is_noted
        a_mail_token_is_good_for_its_purpose_until_it_expires
        a_newer_mail_token_ends_the_one_before
        an_address_is_verified_exactly_once_of_many_parallel_tries
        a_password_is_reset_exactly_once_of_many_parallel_tries
        a_revoked_login_is_listed_until_it_expires
        text_with_nul_is_stored_without_it
    }
    api_keys {
        a_new_key_is_active_and_listed_oldest_first
        a_sixth_key_is_refused_also_of_many_parallel_tries
        a_hash_belongs_to_one_key
        a_key_of_another_account_is_out_of_reach
        a_whitelist_is_stored_and_read_back
        limits_are_stored_and_changed_apart_from_the_rest
        the_bytes_of_a_key_are_counted_by_day_by_month_and_in_all
        a_deleted_key_makes_room_and_its_usage_stays
        a_grant_has_key_account_and_plan
        the_latest_use_of_a_key_stands
        parallel_touches_in_any_order_all_land
    }
    ip_logins {
        an_address_is_one_accounts_until_it_lapses_or_is_given_up
        of_parallel_claims_one_succeeds
        an_account_holds_so_many_and_no_more_also_of_parallel_claims
        uses_count_for_the_holder_alone
        addresses_are_listed_beside_each_key_that_is_on_page_by_page
    }
    plans {
        plans_are_seeded_as_the_prd_says
        an_unknown_account_has_no_plan
    }
    ledger {
        a_lease_takes_from_what_is_free
        a_lease_shrinks_to_nothing_at_most_and_no_others_does
        a_lease_of_nothing_is_still_a_lease
        an_unknown_account_gets_no_lease_and_has_no_balance
        usage_lowers_balance_and_lease_once
        a_later_total_books_the_difference
        a_replayed_or_older_record_changes_nothing
        usage_beyond_the_lease_makes_the_balance_negative
        usage_without_a_lease_is_booked_all_the_same
        an_unbillable_record_is_kept_and_costs_nothing
        a_record_that_turns_out_unbillable_gives_back_what_was_booked
        an_ended_record_stays_ended
        a_batch_with_an_unknown_account_is_refused_whole
        a_record_under_another_accounts_request_is_refused
        a_request_id_claimed_twice_at_once_is_booked_for_one_account
        an_absurd_count_is_booked_without_a_fault
        returned_leases_are_free_again
        a_credit_counts_once_for_its_key
        a_credit_for_an_unknown_account_fails
        parallel_gateways_never_lease_a_byte_twice
        parallel_settlements_of_the_same_records_book_each_byte_once
        parallel_settlements_returns_and_leases_do_not_deadlock
        a_large_batch_is_one_settlement
    }
    ledger_model {
        any_interleaving_agrees_with_the_model
        any_order_of_versions_ends_in_the_same_row
    }
    books {
        parallel_top_ups_with_one_key_are_one
        a_deleted_customers_purse_is_not_corrected_any_more
        bytes_take_their_price_along_and_partners_get_their_share
        what_turns_out_unpaid_goes_back_to_the_purse_and_from_the_partner
        refunds_are_never_more_than_their_purchase
        an_adjustment_stops_at_zero_and_is_on_record
        a_partner_is_paid_at_most_what_it_is_owed_also_in_parallel
        credits_become_bytes_once
        a_statement_has_every_line_once_and_sums_to_the_balance
        an_act_given_up_anywhere_is_whole_or_not_at_all
        parallel_acts_crashes_and_archives_keep_the_books_in_order
    }
    ledger_check {
        a_changed_number_is_found_and_named
    }
    billing {
        a_customer_and_a_price_are_kept_once
        a_subscription_lives_pays_falls_behind_and_ends
        events_in_any_order_end_in_the_newest_state
        one_event_in_many_parallel_deliveries_counts_once
        what_is_not_ours_is_noted_and_buys_nothing
        what_the_provider_told_long_ago_is_forgotten_in_bounded_steps
    }
    payments {
        a_year_is_given_month_by_month_and_ends_with_its_subscription
        a_changed_plan_brings_what_its_money_is_worth
        refunds_take_the_money_and_what_is_left_of_the_bytes
        a_top_up_that_goes_back_leaves_the_plan_that_an_admin_gave
    }
    disputes {
        a_dispute_takes_bytes_and_plan_and_gives_them_back_when_it_is_won
        a_lost_dispute_ends_its_subscription_and_what_comes_next_pays_the_debt
        a_debt_is_let_go_once_and_never_given_twice
        of_a_year_no_month_comes_while_it_is_disputed
        a_dispute_ahead_of_its_payment_comes_again
        any_order_of_disputes_and_refunds_ends_in_the_same_purse
        one_dispute_in_many_parallel_deliveries_takes_once
        a_top_up_that_was_begun_is_booked_and_pays_the_debt
    }
    checkouts {
        an_account_has_one_page_and_finds_it_again
        a_closed_page_sets_nothing_aside_and_a_paid_one_is_forgotten
        of_two_parallel_subscriptions_one_stays_and_one_is_paid_back
        an_invoice_of_a_subscription_that_is_refused_buys_nothing
        a_deleted_account_leaves_errands_until_they_are_done
        a_customer_that_is_made_for_a_deleted_account_is_deleted_too
        an_errand_that_never_works_is_left_to_people
    }
    money {
        twenty_parallel_calls_of_every_act_move_money_once
        twenty_parallel_events_of_every_kind_move_money_once
    }
    top_ups {
        top_ups_stay_within_the_cap_also_in_parallel
        pages_that_nobody_pays_on_are_bounded
        of_many_triggers_one_automatic_top_up_begins
        three_failures_switch_automatic_top_ups_off
        a_top_up_that_the_bank_does_not_make_is_told_once_and_counts_if_it_comes_after_all
        an_account_that_is_deleted_or_suspended_is_not_charged
    }
    usage {
        a_record_reads_back_as_it_was_settled
        the_newest_requests_come_first
        a_summary_counts_the_period_of_its_account
        an_empty_period_sums_to_nothing
        a_day_counts_requests_and_what_was_not_charged
        a_request_is_found_by_its_id_and_account
        a_search_finds_what_was_asked_for_and_nothing_else
        pages_are_whole_while_new_requests_come
        archived_requests_stay_in_the_sums
        an_archived_request_that_is_booked_again_costs_nothing
        parallel_archives_and_settlements_lose_nothing
        what_is_kept_of_usage_ends_with_each_change_of_it
    }
    volume {
        every_search_of_requests_takes_an_index
    }
    statistics {
        sums_equal_those_over_log_and_archive_whatever_comes_in_whatever_order
        a_part_counts_what_began_in_it_and_only_the_wanted_key
        hosts_beyond_the_bound_count_together_in_all_their_versions
        parallel_bookings_and_archives_leave_equal_sums
        the_first_filling_equals_what_booking_kept
    }
    proxy_defaults {
        what_was_set_last_reads_back_for_its_account_alone
    }
    nodes {
        a_new_device_is_accepted_and_keeps_its_id
        another_secret_is_refused_and_changes_nothing
        a_banned_device_is_refused_until_the_ban_ends
        an_impostor_does_not_learn_of_a_ban
        a_withdrawn_consent_is_refused_for_good
        a_withdrawal_may_come_before_its_consent
        a_consent_is_stored_once_for_each_device
        parallel_first_registrations_make_one_device
        an_unknown_partner_is_an_error
        activity_adds_up
        a_late_sign_of_life_does_not_say_who_is_connected
        a_ban_outlives_activity
        parallel_activity_in_any_order_all_lands
    }
    device_retention {
        a_device_that_is_silent_for_long_is_removed_and_its_books_stay
        a_banned_device_is_known_while_its_ban_holds
        parallel_removals_count_each_device_once
    }
    owners {
        a_code_claims_a_device_once_of_fifty_parallel_tries
        an_expired_or_replaced_code_claims_nothing
        owners_reach_their_own_devices_alone
        an_erased_device_leaves_nothing_that_leads_to_it_and_its_withdrawal_holds
        an_hour_earns_once_also_of_parallel_tries
        own_traffic_banned_devices_and_later_claims_earn_nothing
        parts_of_a_credit_wait_until_they_are_whole
        a_farm_is_held_until_an_admin_lets_it_go
        owners_are_listed_with_what_they_earned_and_whether_it_waits
        a_code_of_a_connected_device_takes_the_place_of_the_one_before
        a_wish_stands_until_it_or_the_claim_ends
        a_withdrawal_by_the_owner_holds_and_the_claim_stays
        an_erased_accounts_devices_are_erased_and_its_credits_gone
        earned_hours_are_read_page_by_page_latest_first
        the_autonomous_system_of_a_device_counts_for_its_hour
    }
    device_news {
        a_wish_is_news_as_it_is_now_until_it_is_forgotten
        a_withdrawal_is_news_of_the_consent_that_it_is_about
        apps_that_changed_are_news_as_they_stand_and_a_partner_while_it_is_stopped
        of_much_news_the_latest_come_first
    }
    partner_records {
        a_replaced_key_works_for_its_overlap_and_the_one_before_it_no_longer
        a_change_is_whole_and_on_record
        a_partner_with_connected_devices_is_not_deleted
        a_deleted_partner_is_gone_and_still_can_be_paid
        apps_are_looked_at_again_once_they_change
        a_partner_has_so_many_apps_also_of_parallel_tries
        an_app_that_is_not_admitted_brings_no_device
        an_account_acts_for_one_partner
        a_partner_sees_its_own_alone
    }
    partners {
        a_partner_is_found_by_its_key
        a_key_belongs_to_one_partner
    }
    sticky {
        a_session_reads_back_as_it_was_written
        a_later_write_takes_the_place_of_the_earlier
        an_ended_session_is_gone_and_no_other
        pages_meet_every_session_once
        what_is_to_be_forgotten_is_not_read_and_then_deleted
        parallel_writes_of_the_same_sessions_all_end
    }
    safeguards {
        every_change_of_the_lists_counts_up_and_is_on_record
        parallel_changes_of_the_lists_all_count
        a_grant_reaches_the_login_until_it_is_revoked
        grants_that_hold_are_bounded_and_ended_ones_make_room
        a_status_moves_once_with_its_reason
        audit_records_come_in_pages_and_as_a_feed
        refusals_add_up_by_day_cause_customer_and_device
        who_left_by_an_address_at_a_time_is_found
    }
    logins {
        a_login_lives_until_it_is_ended_and_is_revoked_then
        all_logins_but_one_end_together
        a_new_password_ends_every_login
        the_latest_sight_of_a_login_stands
        an_account_has_a_bounded_number_of_logins_also_under_parallel_ones
        expired_logins_are_forgotten_and_never_listed
        a_network_is_new_once_and_the_first_is_not
        an_account_that_is_not_active_opens_no_login
        parallel_openings_sights_and_ends_do_not_deadlock
    }
    second_factors {
        a_second_factor_is_on_once_it_is_confirmed
        a_step_is_used_once_and_none_before_it
        a_step_is_used_exactly_once_of_many_parallel_tries
        a_recovery_code_is_used_exactly_once_of_many_parallel_tries
        new_recovery_codes_take_the_place_of_all
    }
    profiles {
        a_profile_changes_in_what_is_given
        whatever_changes_an_account_is_dated_and_a_sign_in_is_not
        sign_in_settings_are_stored_and_read_back
        who_is_locked_out_is_let_in_on_record_and_told
        every_role_reads_back
        an_erased_account_leaves_money_and_usage_and_nothing_personal
        the_last_admin_stays_also_when_two_go_at_once
    }
    events {
        an_event_reaches_the_webhooks_that_ask_for_it
        a_key_and_its_event_come_and_go_together
        one_of_many_takes_each_step_of_a_feed
        subscribers_are_listed_once_in_pages
        a_sample_of_failed_requests_says_how_many_there_were
        a_purse_is_seen_until_it_is_noted_and_once_by_many
        what_is_old_is_forgotten_in_bounded_steps
        a_suspended_account_is_told_once_it_goes_on_and_a_deleted_one_never
    }
    webhook_rows {
        a_webhook_reads_back_and_changes_apart
        one_webhook_too_many_is_refused_also_of_many_parallel_tries
        the_secret_before_counts_until_its_end
    }
    webhooks {
        a_due_delivery_is_held_by_one_of_twenty
        a_hold_that_ran_out_is_taken_over_with_the_same_event
        a_slow_webhook_takes_no_more_than_its_places
        a_failed_try_waits_for_its_time
        ten_failures_in_a_row_switch_a_webhook_off_and_mail_its_owner
        a_test_goes_to_one_webhook_active_or_not_and_counts_for_nothing
        deliveries_come_in_pages_newest_first_with_their_last_try
        of_many_tries_of_a_delivery_the_last_fifty_are_kept
        replays_bring_the_same_events_again_and_what_was_missed
        deliveries_that_wait_for_a_webhook_are_bounded
        deleting_while_events_come_and_go_leaves_no_deadlock
    }
    notices {
        preferences_are_the_defaults_until_they_are_set
        changes_of_preferences_at_the_same_moment_all_stand
        an_event_that_is_mailed_waits_in_the_outbox_once
        a_mail_is_held_by_one_and_taken_over_after_a_crash
        a_report_is_queued_once_for_each_account_that_may_have_it
        a_mail_is_queued_once_for_its_occasion_and_goes_before_what_many_get
        an_account_gets_a_hundred_mails_a_day_and_those_that_it_waits_for
        a_request_for_a_password_becomes_a_mail_where_there_is_an_account
        an_announcement_is_told_once_to_each_who_wants_to_know
        a_key_at_its_rate_is_told_once_an_hour_however_many_say_so
    }
    collection {
        a_suspended_accounts_subscription_is_paused_and_goes_on_with_it
        the_last_word_counts_whatever_the_provider_heard_in_between
        a_subscription_of_an_account_that_is_suspended_is_paused_however_both_meet
        a_deleted_accounts_subscription_is_ended_and_not_resumed
    }
    errands {
        an_errand_that_was_given_up_is_tried_anew_on_record
        errands_come_in_pages_by_kind_and_subject
    }
    mails {
        an_act_and_its_mail_are_there_together_or_not_at_all
        who_registers_is_greeted_and_who_is_made_by_others_is_not
        a_suspension_is_told_to_admins_that_may_sign_in_or_to_addresses
        an_owner_who_left_is_told_and_the_address_goes_with_the_mail
    }
    support {
        a_ticket_is_answered_and_closed_with_its_records
        another_accounts_ticket_is_out_of_reach
        tickets_come_in_pages_newest_first
        open_tickets_are_bounded_also_under_parallel_tries
    }
    admin_users {
        a_page_of_users_is_what_was_asked_for
        pages_meet_every_user_once_by_number_and_by_cursor
        a_search_knows_no_case_and_takes_every_letter_as_itself
        a_user_made_by_an_admin_is_on_record
        changes_are_made_all_or_none_each_with_its_record
        a_deleted_user_stays_deleted_and_its_keys_are_off
        an_admin_is_active_and_verified
        another_role_ends_that_a_user_acts_for_a_partner
        the_last_active_admin_stays_one_whatever_is_tried_at_once
    }
    admin_nodes {
        devices_are_found_by_what_they_are
        a_ban_is_on_record_and_holds_until_it_ends
        drains_are_read_from_the_record
        consents_and_withdrawals_of_a_device_are_read
    }
    admin {
        plans_are_made_and_changed_on_record
        plans_come_in_pages_cheapest_first
        changes_of_a_plan_at_the_same_moment_all_stand
        the_plan_of_new_accounts_stays_on_offer_whatever_is_tried_at_once
        settings_are_written_by_who_read_the_newest
        figures_count_users_requests_and_devices
        audit_records_are_found_by_who_what_and_when
        revenue_follows_the_ledger_by_day_and_by_plan
    }
    opening {
        it_answers
        every_rule_of_the_ledger_holds_over_its_tables
    }
}

/// A moment on the tests' own clock.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000 + seconds * 1_000)
}

/// 5 GB, the bonus of [`new_account`].
pub(crate) const BONUS: i64 = 5_000_000_000;

/// A request for an account on the Starter plan, with an address of its own.
pub(crate) async fn account_request(store: &dyn Store) -> NewAccount {
    let id = AccountId::new();
    let plans = store.plans().await.unwrap();
    NewAccount {
        id,
        email: format!("Ada.{id}@Example.com"),
        password_hash: "$argon2id$first".into(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        company: Some("Engines".into()),
        role: Role::Customer,
        email_verified: false,
        standing: iploop_platform::account::Standing::New,
        plan: plans.iter().find(|plan| plan.name == "Starter").unwrap().id,
        bonus_bytes: BONUS,
        now: at(0),
    }
}

/// An account on the Starter plan with [`BONUS`] bytes.
pub(crate) async fn new_account(store: &dyn Store) -> AccountId {
    account_with(store, BONUS).await
}

pub(crate) async fn account_with(store: &dyn Store, bonus_bytes: i64) -> AccountId {
    let request = NewAccount {
        bonus_bytes,
        ..account_request(store).await
    };
    store.create_account(request).await.unwrap().id
}

/// A running request that moved nothing yet.
pub(crate) fn usage(account: AccountId, gateway: GatewayId) -> UsageRecord {
    UsageRecord {
        id: RequestId::new(),
        account,
        api_key: ApiKeyId::from(Uuid::from_u128(7)),
        gateway,
        node: None,
        session: None,
        bytes_up: 0,
        bytes_down: 0,
        billable: true,
        proxy_type: "connect".into(),
        destination: "example.com:443".into(),
        exit_country: None,
        exit_city: None,
        exit_asn: None,
        exit_ip: None,
        timings: Timings::default(),
        status: None,
        error: None,
        attempts: 1,
        started_at: at(10),
        ended_at: None,
    }
}
