# frozen_string_literal: true

# Runs cloudkeeper's own list manager and entities on files. Arguments: a checkout of cloudkeeper, CA folder (or `-`: no
# verification), files. Prints a JSON object a line. What is defined here stands for gems that only other parts of it need.
require 'date'
require 'json'
require 'openssl'
require 'time'

class Object
  def blank?
    respond_to?(:empty?) ? !!empty? : !self
  end

  def logger
    @logger ||= Class.new { def method_missing(*) = nil }.new
  end
end

class String
  def blank? = strip.empty?
end

class Hash
  def deep_symbolize_keys!
    replace(to_h { |key, value| [key.to_sym, self.class.symbolized(value)] })
  end

  def self.symbolized(value)
    case value
    when Hash then value.deep_symbolize_keys!
    when Array then value.map { |one| symbolized(one) }
    else value
    end
  end
end

$LOADED_FEATURES << 'faraday.rb'
module Faraday
  class ClientError < StandardError; end
end

module Cloudkeeper
  Settings = {} # rubocop:disable Style/MutableConstant

  module Errors
    class StandardError < ::StandardError; end
    class ArgumentError < StandardError; end
    class InvalidURLError < StandardError; end

    module ImageList
      %i[DownloadError VerificationError RetrievalError ImageListError].each { |one| const_set(one, Class.new(Errors::StandardError)) }
    end

    module Parsing
      class ParsingError < Errors::StandardError; end
      %i[InvalidApplianceHashError InvalidImageHashError InvalidImageListHashError].each { |one| const_set(one, Class.new(ParsingError)) }
    end
  end
end

sources, folder, *files = ARGV
%w[utils/date entities/image entities/appliance entities/image_list managers/image_list_manager].each do |file|
  require File.join(File.expand_path(sources), 'lib', 'cloudkeeper', file)
end

FORMAT = '%Y-%m-%dT%H:%M:%SZ'

def account(manager, path)
  found = manager.send(:convert_image_list, manager.send(:load_image_list, path))
  images = found.appliances.values.map { |one| appliance(one) }
  { 'dc:identifier' => found.identifier, 'dc:title' => found.title, 'dc:description' => found.description, 'dc:source' => found.source,
    'dc:date:created' => found.creation_date.strftime(FORMAT), 'dc:date:expires' => found.expiration_date.strftime(FORMAT),
    'expired' => found.expired?, 'images' => images, 'digests' => found.appliances.values.map(&:digest) }
rescue StandardError => e
  { 'refused' => "#{e.class}: #{e.message}" }
end

def appliance(one)
  { 'dc:identifier' => one.identifier, 'dc:title' => one.title, 'dc:description' => one.description, 'ad:mpuri' => one.mpuri,
    'ad:group' => one.group, 'hv:version' => one.version, 'sl:arch' => one.architecture, 'hv:uri' => one.image.uri,
    'sl:checksum:sha512' => one.image.checksum, 'hv:size' => one.image.size, 'dc:date:expires' => one.expiration_date.strftime(FORMAT) }
end

Cloudkeeper::Settings[:'ca-dir'] = folder unless folder == '-'
Cloudkeeper::Settings[:'verify-image-lists'] = folder != '-'
manager = Cloudkeeper::Managers::ImageListManager.new
files.each { |path| puts JSON.generate(account(manager, path)) }
