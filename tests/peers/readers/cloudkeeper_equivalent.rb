# frozen_string_literal: true

# What cloudkeeper does with a list, in code of our own: the same calls of Ruby's OpenSSL in the same order, then the fields that
# its list and appliances insist on. Arguments: CA folder, files. Prints a JSON object a line.
require 'date'
require 'json'
require 'openssl'
require 'time'

FORMAT = '%Y-%m-%dT%H:%M:%SZ'
NEEDED_BY_APPLIANCES = %w[dc:identifier ad:mpuri dc:date:expires hv:uri sl:checksum:sha512].freeze

def account(path, store)
  message = OpenSSL::PKCS7.read_smime(File.read(path))
  raise 'cannot be verified' unless message.verify([], store)

  said = meaning(JSON.parse(message.data)['hv:imagelist'])
  signer = message.certificates.find { |one| one.serial == message.signers.first.serial }
  said.merge('verified' => true, 'trusted' => [signer.subject.to_s, signer.issuer.to_s] == [said['hv:dn'], said['hv:ca']])
rescue StandardError => e
  { 'refused' => "#{e.class}: #{e.message}" }
end

def meaning(list)
  dates = %w[dc:date:created dc:date:expires].to_h { |key| [key, DateTime.strptime(list[key], FORMAT).strftime(FORMAT)] }
  images = list['hv:images'].map { |one| image(one['hv:image'], list) }
  kept = list.slice('dc:identifier', 'dc:title', 'dc:description', 'dc:source', 'hv:version', 'hv:uri', 'ad:vo')
  kept.merge(dates, list['hv:endorser']['hv:x509'], 'images' => images)
end

def image(found, list)
  lacking = NEEDED_BY_APPLIANCES.reject { |key| found[key].to_s.strip != '' }
  lacking << 'ad:vo' if list['ad:vo'].to_s.strip == ''
  raise "an appliance lacks #{lacking}" unless lacking.empty?

  expires = Time.strptime(found['dc:date:expires'], FORMAT).strftime(FORMAT)
  unneeded = %w[hv:ram_minimum hv:core_minimum ad:ram_recommended ad:core_recommended]
  found.except(*unneeded).merge('dc:date:expires' => expires)
end

store = OpenSSL::X509::Store.new
store.add_path(ARGV.shift)
ARGV.each { |path| puts JSON.generate(account(path, store)) }
