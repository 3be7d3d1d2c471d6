'use strict';

/**
 * Triggers of the events that are alike for all providers: their data has the same fields, whichever provider
 * reported them, and null for what it does not say. A sample has the fields that every provider of the kind reports.
 */

const hook = require('../lib/hook');

const PROVIDER = { key: 'provider', label: 'Provider', type: 'string', required: true };

const text = (key, label, required = false) => ({ key, label, type: 'string', required });

const normalized = (trigger) =>
  hook({ ...trigger, filter: () => trigger.type, inputFields: [], dataFields: [PROVIDER, ...trigger.dataFields] });

module.exports = [
  normalized({
    key: 'new_lead',
    noun: 'Lead',
    label: 'New Lead',
    description: 'Triggers when a person leaves contact data in a form of a connected provider.',
    type: 'lead.created',
    data: {
      provider: 'typeform',
      id: 'lead_42',
      email: 'ada@example.com',
      name: 'Ada Lovelace',
      phone: '+49 30 901820',
      form: 'contact-us',
    },
    dataFields: [
      text('id', 'Lead ID', true),
      text('email', 'Email'),
      text('name', 'Name'),
      text('phone', 'Phone'),
      text('form', 'Form'),
    ],
  }),
  normalized({
    key: 'new_payment',
    noun: 'Payment',
    label: 'New Payment',
    description: 'Triggers when a payment succeeds at a connected provider.',
    type: 'payment.succeeded',
    data: { provider: 'stripe', id: 'pi_42', amount: 12050, currency: 'eur', customer: 'cus_42' },
    dataFields: [
      text('id', 'Payment ID', true),
      { key: 'amount', label: 'Amount in the Smallest Unit', type: 'integer' },
      text('currency', 'Currency'),
      text('customer', 'Customer'),
    ],
  }),
  normalized({
    key: 'bounced_email',
    noun: 'Bounced Email',
    label: 'Bounced Email',
    description: 'Triggers when an email cannot be delivered to its recipient.',
    type: 'email.bounced',
    data: {
      provider: 'brevo',
      email: 'ada@example.com',
      message_id: '<42@mail.example.com>',
      reason: 'mailbox does not exist',
    },
    dataFields: [
      text('email', 'Email', true),
      text('message_id', 'Message ID'),
      text('reason', 'Reason'),
    ],
  }),
];
